"""A recipe with everything that is wrong in it, instead of the first thing."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from edgekd.devices import transport_of
from edgekd.errors import BadInputError
from edgekd.pipeline.faults import Faults
from edgekd.recipe import Recipe, read_document
from edgekd.schema import explain_each
from edgekd.user_code import check_reference

KeyPath = tuple[int | str, ...]
_ROUNDS = 5  # what depends on several keys is only seen once they are right by themselves


def read_leniently(name: str, overrides: Sequence[str], faults: Faults, *, code: bool = True) -> Recipe | None:
    """Return the recipe, without the keys that are wrong; None where nothing is left to go on with.

    Raises BadInputError for a file that cannot be read at all.
    """
    document, default = read_document(name, overrides)
    document = {"name": default} | document
    _check_devices(document, faults)
    dropped = set[KeyPath]()
    for _ in range(_ROUNDS):
        try:
            recipe = Recipe.parse(document, name)
        except BadInputError as error:
            if not _noted(error, document, faults, dropped):
                return None
        else:
            return recipe if _may_run(recipe, faults, code) else None
    return None


def _check_devices(document: dict[str, Any], faults: Faults) -> None:
    devices = document.get("devices")
    for uri in devices.values() if isinstance(devices, dict) else ():
        if isinstance(uri, str):
            faults.attempt(f"device {uri}", partial(transport_of, uri), lambda _: "")


def _noted(error: BadInputError, document: dict[str, Any], faults: Faults, dropped: set[KeyPath]) -> bool:
    """Note every fault but what follows from an earlier one, and drop the keys at fault; return whether any was."""
    if not isinstance(error.__cause__, ValidationError):
        faults.add("recipe", str(error))
        return False
    before = len(dropped)
    for path, message in explain_each(Recipe, error.__cause__):
        if path and path in dropped:
            continue
        faults.add("recipe", message)
        place = path or tuple(message.partition(":")[0].split("."))
        if gone := _drop(document, place):
            dropped.add(gone)
        if place[0] == "targets":  # these would name what is gone
            document.pop("devices", None)
            document.pop("optional", None)
    return len(dropped) > before


def _drop(document: Any, path: KeyPath) -> KeyPath:
    """Delete the deepest key of a path that there is, and return its path; nothing where the last is missing.

    Names of types, which pydantic puts in, lead nowhere.
    """
    found: KeyPath = ()
    holder: dict[Any, Any] = {}
    for depth, part in enumerate(path, start=1):
        if isinstance(document, dict) and part in document:
            holder, found = document, path[:depth]
        elif isinstance(document, dict) and depth == len(path):
            return ()
        elif not (isinstance(document, list) and isinstance(part, int) and part < len(document)):
            break
        document = document[part]
    if found:
        del holder[found[-1]]
    return found


def _may_run(recipe: Recipe, faults: Faults, code: bool) -> bool:
    """Whether the code that the recipe names may be run."""
    before = len(faults.faults)
    for reference in recipe.code:
        if not code:
            faults.add("code", f"--no-code, but the recipe calls {reference}")
        faults.attempt("code", partial(check_reference, reference), lambda _: "")
    return len(faults.faults) == before
