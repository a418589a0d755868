"""`scheme://address?python=PATH&runner=FOLDER`: the address is in words that no shell and no option parser reads
otherwise; its settings, percent-encoded where need be, say what measures there."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from edgekd.errors import BadInputError

RUNNER = "edgekd-runner"
SETTINGS = {"python", "runner"}


@dataclass(frozen=True)
class Address:
    """Named parts of an address, the interpreter to use there, and the runner here that takes its place, if any."""

    parts: dict[str, str | None]
    python: str
    runner: Path | None


def parse(uri: str, pattern: str, form: str, python: str = "python3") -> Address:
    """Match the address against `pattern`; BadInputError that shows the right `form`."""
    address, _, query = uri.partition("?")
    found = re.fullmatch(pattern, address, re.ASCII)
    if not found:
        raise BadInputError(f"device {uri!r}: expected {form}")
    pairs = [pair.partition("=")[::2] for pair in query.split("&")] if query else []
    settings = {key: unquote(value) for key, value in pairs}
    if len(settings) < len(pairs) or not settings.keys() <= SETTINGS or not all(map(_plain, settings.values())):
        raise BadInputError(f"device {uri!r}: expected {form}?python=PATH or {form}?runner=FOLDER")
    return Address(found.groupdict(), settings.get("python", python), _runner(uri, settings.get("runner")))


def _plain(path: str) -> bool:
    return bool(path) and path.isprintable() and not path.startswith("-")


def _runner(uri: str, folder: str | None) -> Path | None:
    runner = Path(folder, RUNNER) if folder else None
    if runner and not runner.is_file():
        raise BadInputError(f"device {uri!r}: no {RUNNER} in {folder}; `make runner` builds one")
    return runner
