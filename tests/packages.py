"""Packages that only carry data: a test that needs one skips without it, or fails where EDGEKD_REQUIRE_DATA=1."""

import os
from importlib.util import find_spec

import pytest


def need(*packages: str) -> None:
    """Skip, or fail, unless all of these can be imported; names as in `import`."""
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    reason = f"not installed: {', '.join(missing)}"
    if os.environ.get("EDGEKD_REQUIRE_DATA") == "1":
        pytest.fail(f"EDGEKD_REQUIRE_DATA=1, but {reason}")
    pytest.skip(reason)


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # a parent of it is missing
        return False
