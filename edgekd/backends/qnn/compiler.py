"""A child process that compiles for the HTP: the vendor's compiler is native code, and knows one chip in a process.

`python -m edgekd.backends.qnn.compiler FOLDER ARCH SOC CPU` makes `context.onnx` of the folder's `model.onnx`; what the
compiler tells of its graphs lies in `told/`. The last line is an `Answer` in JSON.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from edgekd.backends.qnn.runtime import CONTEXT, Qnn
from edgekd.errors import BadInputError
from edgekd.runner.errors import RunnerError

SOURCE, TOLD = "model.onnx", "told"
SECONDS = 1800


class Answer(NamedTuple):
    """What the compiler refuses, in one line, and the version of Qualcomm's tools."""

    refusal: str | None
    qairt: str


def compiled(folder: Path, arch: str, soc: str, cpu: str) -> Answer:
    """Compile in a process of its own; BadInputError where the compiler crashes or hangs."""
    (folder / TOLD).mkdir()
    command = [sys.executable, "-m", __name__, str(folder), arch, soc, cpu]
    try:
        child = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BadInputError(f"the HTP's compiler gave no answer in {SECONDS} s") from error
    if child.returncode:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise BadInputError(f"the HTP's compiler died (exit {child.returncode}) {''.join(last)}".rstrip())
    return Answer(*json.loads(child.stdout.splitlines()[-1]))


def main(folder: Path, arch: str, soc: str, cpu: str) -> Answer:
    """Compile here."""
    runtime = Qnn({"htp_arch": arch, "soc_model": soc, "cpu": cpu})
    try:
        runtime.prepare(folder / SOURCE, folder / TOLD, folder / CONTEXT)
    except RunnerError as error:
        return Answer(str(error), runtime.qairt)
    return Answer(None, runtime.qairt)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the compiler prints to stdout from C
    print(json.dumps(main(Path(sys.argv[1]), *sys.argv[2:])), file=answers, flush=True)
