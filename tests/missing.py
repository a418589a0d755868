"""What this machine lacks: a test skips and names the command that brings it, or fails where CI asks for it."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest

COMMANDS = {
    "devices": "make test-devices",
    "data": "make data",
    "browser": "apt-get install chromium",
    "firefox": "apt-get install firefox-esr",
    "web": "edgekd web install",
}


def miss(kind: str, reason: str) -> NoReturn:
    """Skip, or fail where EDGEKD_REQUIRE_<kind>=1."""
    variable = f"EDGEKD_REQUIRE_{kind.upper()}"
    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}=1, but {reason}")
    pytest.skip(f"{reason} ({COMMANDS[kind]})")


def summary(reasons: Iterable[str]) -> list[str]:
    """Return one line per kind: how many tests were skipped for want of it, and what brings them."""
    wanted = Counter(kind for reason in reasons for kind in COMMANDS if reason.endswith(f"({COMMANDS[kind]})"))
    return [f"{count} skipped for want of {kind}: {COMMANDS[kind]}" for kind, count in wanted.most_common()]
