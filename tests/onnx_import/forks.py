"""Confined commands on foreign models, each in a fork of one warm process: `python -m tests.onnx_import.forks`.

Reads one command line a line, as JSON; prints `[status, what it said]` for each, the status that of `os.waitstatus`.
"""

import json
import os
import sys
import tempfile

import edgekd.backends.onnxruntime.compile
import edgekd.cli
import edgekd.pipeline.foreign
from edgekd import confined


def run(words: list[str]) -> tuple[int, str]:
    """How a command ended, negative for a signal, and what it wrote to its streams."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            _become(words, said.fileno())
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read()


def _become(words: list[str], said: int) -> None:
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ[confined.CONFINED] = str(os.getppid())
    code: object = 70
    try:
        confined.confine()
        edgekd.cli.app(words, prog_name="edgekd")
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
