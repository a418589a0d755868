"""`scheme://address?python=PATH`, where the address is in words that no shell and no option parser reads otherwise."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from edgekd.errors import BadInputError


@dataclass(frozen=True)
class Address:
    """Named parts of an address, and the interpreter to use there."""

    parts: dict[str, str | None]
    python: str


def parse(uri: str, pattern: str, form: str) -> Address:
    """Match the address against `pattern`; BadInputError that shows the right `form`."""
    address, _, query = uri.partition("?")
    found = re.fullmatch(pattern, address, re.ASCII)
    if not found:
        raise BadInputError(f"device {uri!r}: expected {form}")
    key, _, python = query.partition("=")
    python = unquote(python)
    if query and (key != "python" or not python or python.startswith("-") or not python.isprintable()):
        raise BadInputError(f"device {uri!r}: expected {form}?python=PATH")
    return Address(found.groupdict(), python or "python3")
