"""Networks of other libraries by name, `LIBRARY:NAME`: one library a file, which is called as its package is.

A file has `check(name)`, which raises BadInputError with the nearest name, and `build(name, classes, input_shape,
**options)`. It may import its library at the top: it is imported itself once a recipe names it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgekd import plugins
from edgekd.errors import BadInputError

if TYPE_CHECKING:
    from torch import nn


def code_of(reference: str) -> str | None:
    """Return the module that builds a library's network; None for a name that is of none. Nothing is imported."""
    library, colon, _ = reference.partition(":")
    return plugins.modules(__name__).get(library) if colon else None


def factory(reference: str) -> Callable[..., nn.Module]:
    """Return what builds a library's network of `classes` for an `input_shape`, given the library's own options.

    Raises BadInputError where the library is not there, does not import, or has no network of this name.
    """
    library, _, name = reference.partition(":")
    module = _imported(library, reference)
    try:
        module.check(name)
    except BadInputError as error:
        raise BadInputError(f"model {reference!r}: {error}", hint=error.hint) from error

    def build(classes: int, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
        network: nn.Module = module.build(name, classes, input_shape, **options)
        return network

    return build


def cached_weights(repository: str, revision: str = "main") -> str:
    """Return the file of a hub's weights in this machine's cache; nothing is downloaded.

    Raises BadInputError with the command that downloads it.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, "model.safetensors", revision=revision)
    if not isinstance(found, str):
        raise BadInputError(
            f"the weights of {repository} are not in this machine's cache, and a run downloads nothing",
            hint=f"hf download {repository}",
        )
    return found


def _imported(library: str, reference: str) -> ModuleType:
    try:
        return plugins.builtin(__name__, library, "library of models")
    except ModuleNotFoundError as error:
        what = "is not installed" if error.name == library else f"needs {error.name}, which is not installed"
        raise BadInputError(
            f"model {reference!r}: {library} {what}", hint=f"pip install {error.name or library}"
        ) from error
    except Exception as error:  # the library's own, of other versions than it was made for: anything may come out
        raise BadInputError(
            f"model {reference!r}: {library} {_version(library)} is installed, but does not import: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            hint=f'python -c "import {library}"',
        ) from error


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "of an unknown version"
