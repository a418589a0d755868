"""A chunk of mutations in a process of its own: a crash of native code ends only this one.

`python -m tests.fuzz.worker READER START STOP` prints each seed before it is tried and a traceback where a reader fails
otherwise than by an EdgekdError.
"""

import resource
import signal
import sys
import tempfile
from pathlib import Path
from random import Random
from types import FrameType

from edgekd.errors import EdgekdError
from tests.fuzz.readers import READERS

SECONDS = 20  # for one file; a hang
MEMORY = 6 * 2**30


class Hang(BaseException):
    """Not an Exception: no reader may take it for a damaged file."""


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def main(name: str, start: int, stop: int) -> None:
    """Try the seeds from `start` up to `stop`; the last line is `done REFUSED READ`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _hang)
    reader, refused = READERS[name], 0
    with tempfile.TemporaryDirectory() as folder:
        path = reader.make(Path(folder))
        content = path.read_bytes()
        reader.read(path)  # the real file is read
        for seed in range(start, stop):
            path.write_bytes(reader.mutate(content, Random(seed)))
            print(seed, flush=True)
            signal.alarm(SECONDS)
            try:
                reader.read(path)
            except EdgekdError as error:
                assert len(str(error).splitlines()) == 1, f"not one line: {error}"
                refused += 1
            signal.alarm(0)
    print(f"done {refused} {stop - start - refused}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
