"""What may go wrong, and the exit code of each kind."""

from __future__ import annotations

EXIT_CODES = {"mismatch": 1, "bad-input": 2, "missing-runtime": 3, "failed": 3, "not-proven": 4}
ANSWERS = (0, EXIT_CODES["mismatch"], EXIT_CODES["not-proven"])  # after which there is more to ask


class RunnerError(Exception):
    """An expected failure: `kind` decides the exit code, the message is one line."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def first_line(error: BaseException) -> str:
    """An exception as one line: the first that says more than what follows, as OpenVINO's `Exception from …:` do."""
    lines = str(error).strip().splitlines()
    text = [line for line in lines if not line.endswith(":")] or lines
    return "{}: {}".format(type(error).__name__, text[0]) if text else type(error).__name__
