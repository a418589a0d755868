"""The command line, and the records that it prints."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any, Callable, Iterator, List, NoReturn, Sequence, TextIO, Type

from edgekd.runner.errors import ANSWERS, EXIT_CODES, RunnerError, first_line
from edgekd.runner.machine import cores
from edgekd.runner.runtime import Runtime
from edgekd.runner.verbs import Job, describe

try:
    import numpy as np
except ImportError:
    np = None  # type: ignore[assignment]

THEN = "then"


class Parser(argparse.ArgumentParser):
    """Wrong arguments end in a record like every other failure."""

    def error(self, message: str) -> NoReturn:
        """Raise RunnerError(bad-input) instead of exiting."""
        raise RunnerError("bad-input", message)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("build", "verify", "bench", "predict", "profile", "describe"))
    parser.add_argument("bundle", nargs="?", default=str(Path(__file__).resolve().parent))
    parser.add_argument("--batch", type=positive(int))
    parser.add_argument("--threads", type=positive(int))
    parser.add_argument("--affinity", type=cores, metavar="CORES")
    parser.add_argument("--scenario", choices=("single-stream", "offline"), default="single-stream")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seconds", type=positive(float), default=1.0)
    parser.add_argument("--count", type=positive(int), default=50)
    parser.add_argument("--runs", type=positive(int), default=100)
    parser.add_argument("--warmup", type=positive(int), default=10)
    parser.add_argument("--input")
    parser.add_argument("--output")
    return parser.parse_intermixed_args(argv)


def positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """An argparse type for numbers above zero."""

    def number(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError(text)
        return value

    number.__name__ = "positive number"
    return number


def records_to(stream: TextIO) -> Callable[..., None]:
    """A function that writes one record per line."""

    def emit(record: str, **fields: Any) -> None:
        stream.write(json.dumps(dict(record=record, **fields), allow_nan=False) + "\n")
        stream.flush()

    return emit


def commands(argv: Sequence[str]) -> Iterator[Sequence[str]]:
    """What lies between the words `then`."""
    begin = 0
    for place, word in enumerate([*argv, THEN]):
        if word == THEN:
            yield argv[begin:place]
            begin = place + 1


def main(argv: Sequence[str], backend: str, kind: Type[Runtime]) -> int:
    """Exit code of a runner for one backend: of the first command that was not ok.

    Where one cannot be done, the next are not tried.
    """
    records = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes print to stdout from C; the records have it to themselves
    emit, code = records_to(records), 0
    jobs: List[Job] = []
    for command in commands(argv):
        found = obey(command, emit, backend, kind, jobs)
        code = code or found
        if found not in ANSWERS:
            break
    return code


def obey(argv: Sequence[str], emit: Callable[..., None], backend: str, kind: Type[Runtime], jobs: List[Job]) -> int:
    """Exit code of one command, whose last record is its `end`; `jobs` holds the last one's, and then its own."""
    try:
        arguments = parse_arguments(argv)
        if np is None:
            raise RunnerError("missing-runtime", "numpy is not installed: pip install numpy")
        if arguments.verb == "describe":
            describe(arguments, emit, backend, kind)
        else:
            jobs[:] = [Job(arguments, emit, backend, kind, *jobs)]
            if not jobs[0].run():
                raise RunnerError("mismatch", "outputs differ from the reference beyond the tolerance")
    except RunnerError as error:
        emit("end", ok=False, error=str(error), kind=error.kind)
        return EXIT_CODES[error.kind]
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # a runtime's own exceptions have no common base
        emit("end", ok=False, error=first_line(error), kind="failed")
        return EXIT_CODES["failed"]
    emit("end", ok=True)
    return 0
