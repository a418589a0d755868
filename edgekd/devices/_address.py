"""`scheme://address?python=PATH&runner=FOLDER`: the address names a device as its owner does, the settings say what
measures there.

Both may be percent-encoded, and have to be where a character means something else, such as a `?` in a name. What no
name needs, and a shell or an option parser would read otherwise, is refused.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from edgekd.errors import BadInputError

RUNNER = "edgekd-runner"
SETTINGS = {"python", "runner"}
WHOLE = re.compile(r"(?P<address>.+?)(\?(?P<query>\w+=.*))?", re.DOTALL)  # a `?` without a setting belongs to a name
NEVER = set("'\"`$;&<>|{}")


@dataclass(frozen=True)
class Address:
    """Named parts of an address, the interpreter to use there, and the runner here that takes its place, if any.

    `explicit`: one of the two is named.
    """

    parts: dict[str, str | None]
    python: str
    runner: Path | None
    explicit: bool = False


def parse(uri: str, pattern: str, form: str, python: str = "python3") -> Address:
    """Match the address against `pattern`; BadInputError that shows the right `form`."""
    whole = WHOLE.fullmatch(uri)
    address, query = whole.group("address", "query") if whole else ("", None)
    found = re.fullmatch(pattern, address)
    parts = {key: part and unquote(part) for key, part in found.groupdict().items()} if found else {}
    if not found or not all(part is None or _nameable(part) for part in parts.values()):
        raise BadInputError(f"device {uri!r}: expected {form}")
    pairs = [pair.partition("=")[::2] for pair in query.split("&")] if query else []
    settings = {key: unquote(value) for key, value in pairs}
    if len(settings) < len(pairs) or not settings.keys() <= SETTINGS or not all(map(_plain, settings.values())):
        raise BadInputError(f"device {uri!r}: expected {form}?python=PATH or {form}?runner=FOLDER")
    return Address(parts, settings.get("python", python), _runner(uri, settings.get("runner")), bool(settings))


def is_address(uri: str, pattern: str) -> bool:
    """Whether `parse` takes it."""
    try:
        return bool(parse(uri, pattern, ""))
    except BadInputError:
        return False


def spelled(name: str, special: str) -> str:
    """A name for an address in which these characters mean something."""
    return re.sub(f"[%{re.escape(special)}]", lambda found: f"%{ord(found[0]):02X}", name)


def _nameable(part: str) -> bool:
    return _plain(part) and part == part.strip() and not set(part) & NEVER


def _plain(path: str) -> bool:
    return bool(path) and path.isprintable() and not path.startswith("-")


def _runner(uri: str, folder: str | None) -> Path | None:
    runner = Path(folder, RUNNER) if folder else None
    if runner and not runner.is_file():
        raise BadInputError(f"device {uri!r}: no {RUNNER} in {folder}; `make runner` builds one")
    return runner
