"""Data that arrives inside an installed package: found without importing it, for many pull in far more than data."""

import importlib.util
from pathlib import Path

from edgekd.errors import BadInputError


def package_file(top: str, relative: str, advice: str) -> Path:
    """The file `relative` of the installed package `top`, which is not imported.

    Raises BadInputError when the package or the file is missing; `advice` is the command that installs it, such as
    `pip install --no-deps seglearn==1.2.5`.
    """
    spec = importlib.util.find_spec(top)
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / relative
        if path.is_file():
            return path
    missing = f"package {top!r} holds no {relative}" if folders else f"package {top!r} is not installed"
    raise BadInputError(f"{missing}: {advice}")
