"""What to type after an error."""

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise

from edgekd.errors import DeviceError, EdgekdError, MissingRuntimeError, NotProvenError

_NAMED = re.compile(r"\b(edgekd|pip install|make|apt-get install) \S")


def next_step(words: Sequence[str], error: EdgekdError) -> str:
    """Return a command that helps with an error of `edgekd WORDS…`; nothing where the error names one itself."""
    if isinstance(error, MissingRuntimeError) and _may_install(words):
        return f"{shlex.join(['edgekd', *words])} --provision"
    if error.hint or _NAMED.search(str(error)):
        return error.hint
    command, *rest = words or ["--help"]
    if isinstance(error, DeviceError):
        return _about_a_device(command, rest, reached=type(error) is DeviceError)
    if isinstance(error, NotProvenError):
        return ""
    if command == "run" and rest and "--dry-run" not in rest and error.exit_code == 2:
        return f"edgekd run {rest[0]} --dry-run"
    return f"edgekd {command} --help" if error.exit_code == 2 else ""


def _may_install(words: Sequence[str]) -> bool:
    """Whether the command has a device of another machine, and could provision it."""
    far = [after for word, after in pairwise(words) if word == "--device" and after.startswith(("ssh:", "adb:"))]
    return bool(far) and words[0] in ("verify", "bench", "profile") and "--provision" not in words


def _about_a_device(command: str, rest: Sequence[str], *, reached: bool) -> str:
    """Where no device is named it is this one: what it lacks, if it was `reached`, and which others there are."""
    named = [after for word, after in pairwise(rest) if word == "--device"]
    return f"edgekd doctor --device {named[0]}" if named and command != "doctor" else _here(command, reached)


def _here(command: str, reached: bool) -> str:
    return "edgekd doctor" if reached and command != "doctor" else "edgekd devices"
