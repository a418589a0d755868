"""What to type after an error."""

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise

from edgekd.errors import (
    DeviceError,
    EdgekdError,
    MissingRuntimeError,
    NotProvenError,
    PromiseBrokenError,
    UnfitInputsError,
)

_NAMED = re.compile(r"\b(edgekd|pip install|make|apt-get install) \S")
_OPTION = re.compile(r"(--[a-z][a-z-]*) ('[^']*'|[^\s;:)]*[A-Z0-9?][^\s;:)]*)")
_OF_HINT = re.compile(r"(--[a-z][a-z-]*) (\S+)")
_REPEATED = {"--keep-float", "--set", "--shape"}  # options of several values
_SAMPLES = {"--audio", "--calibration", "--images", "--random"}  # one of them at a time
_THIS_MODEL = "edgekd export MODEL "
OTHER_SAMPLES = f"{_THIS_MODEL}--calibration X.npz"


def next_step(words: Sequence[str], error: EdgekdError) -> str:
    """Return a command that helps with an error of `edgekd WORDS…`; nothing where the error names one itself."""
    if isinstance(error, MissingRuntimeError) and _may_install(words):
        return f"{shlex.join(['edgekd', *words])} --provision"
    command, *rest = words or ["--help"]
    noise = isinstance(error, UnfitInputsError) and any(word.startswith("--random") for word in words)
    hint = OTHER_SAMPLES if noise else error.hint
    if command == "export" and hint.startswith(_THIS_MODEL):
        return again(words, _OF_HINT.findall(hint))
    if error.hint or _NAMED.search(str(error)):
        return error.hint
    if command != "run" and (advised := _advised(words, str(error))):
        return again(words, advised)
    if isinstance(error, DeviceError):
        return _about_a_device(command, rest, reached=type(error) is DeviceError)
    if isinstance(error, NotProvenError):
        return ""
    if command == "run" and rest and "--dry-run" not in rest and error.exit_code == 2:
        return shlex.join(["edgekd", *words, "--dry-run"])
    if command == "export" and isinstance(error, PromiseBrokenError):
        return "edgekd targets"
    return f"edgekd {command} --help" if error.exit_code == 2 else ""


def next_step_for(words: Sequence[str], target: str, error: EdgekdError) -> str:
    """Return the same for one of several targets that refused: a command about that target alone."""
    return next_step(_with_one(words, "--target", target), error)


Options = Sequence[tuple[str, str]]


def _with_one(words: Sequence[str], option: str, value: str) -> list[str]:
    """Return the words without an option's other values."""
    return [
        word
        for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False)
        if not (word == option and after != value)
        and not (before == option and word != value)
        and not (word.startswith(f"{option}=") and word != f"{option}={value}")
    ]


def _advised(words: Sequence[str], told: str) -> Options:
    """Return the first options side by side that an error gives values for; not those that it complains of."""
    advised: list[tuple[str, str]] = []
    end = 0
    for match in _OPTION.finditer(told):
        option, value = match[1], match[2].rstrip(".,")
        given = [after for word, after in pairwise(words) if word == option]
        if match.start() == 0 or any(each.startswith(value.strip("'")) for each in given):
            continue
        if advised and match.start() > end + 1:
            break
        advised.append((option, value))
        end = match.end()
    return advised


def again(words: Sequence[str], options: Options) -> str:
    """Return the same command with some options, in the place of what it had for them where they have one value."""
    replaced = {option for option, _ in options} - _REPEATED
    replaced |= _SAMPLES if replaced & _SAMPLES else set()
    kept = [
        word
        for before, word in pairwise(["", *words])
        if before not in replaced and word.partition("=")[0] not in replaced
    ]
    return " ".join([shlex.join(["edgekd", *kept]), *(f"{option} {value}" for option, value in options)])


def _may_install(words: Sequence[str]) -> bool:
    """Whether the command has a device of another machine, and could provision it."""
    far = [after for word, after in pairwise(words) if word == "--device" and after.startswith(("ssh:", "adb:"))]
    return bool(far) and words[0] in ("verify", "bench", "profile") and "--provision" not in words


def _about_a_device(command: str, rest: Sequence[str], *, reached: bool) -> str:
    """Where no device is named it is this one: what it lacks, if it was `reached`, and which others there are."""
    named = [after for word, after in pairwise(rest) if word == "--device"]
    return (
        f"edgekd doctor --device {shlex.quote(named[0])}" if named and command != "doctor" else _here(command, reached)
    )


def _here(command: str, reached: bool) -> str:
    return "edgekd doctor" if reached and command != "doctor" else "edgekd devices"
