"""Mutations of real files, each read in a fork of a process that is warm: what kills, hangs or grows a reader ends it.

`python -m tests.fuzz.worker READER[,READER…] START STOP` prints a line of JSON for each reader: what became of the
seeds from START up to STOP.
"""

import faulthandler
import gc
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from edgekd.errors import EdgekdError
from edgekd.screen import visible
from tests.fuzz.readers import READERS, Reader

CPU, WALL = 10, 120  # seconds for one file: of computing, and of waiting on a busy machine
MEMORY = 2**30  # above what the warm process has
ACCEPTED, REFUSED, OUR_BUG = 0, 2, 70


@dataclass
class Tally:
    """What became of a reader's inputs; `seeds` are those that found something."""

    reader: str
    count: int = 0
    accepted: int = 0
    refused: int = 0
    bugs: int = 0
    killed: int = 0
    confined: int = 0
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    seeds: list[int] = field(default_factory=list)

    def add(self, status: int, usage: resource.struct_rusage, seed: int, confined: bool) -> None:
        """Count one input by how the process that read it ended; `confined`: its reader runs in one that may die."""
        self.count += 1
        code = os.waitstatus_to_exitcode(status)
        crashed = code < 0 and -code not in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL)
        kind = {ACCEPTED: "accepted", REFUSED: "refused"}.get(code, "bugs" if code > 0 else "killed")
        kind = "confined" if crashed and confined else kind
        setattr(self, kind, getattr(self, kind) + 1)
        if kind in ("bugs", "killed", "confined"):
            self.seeds = [*self.seeds, seed][:20]
        self.slowest_s = max(self.slowest_s, round(usage.ru_utime + usage.ru_stime, 3))
        self.peak_mb = max(self.peak_mb, round(usage.ru_maxrss / 1024, 1))


def fuzz(name: str, start: int, stop: int) -> Tally:
    """Read the mutations of `start` up to `stop`, one fork each."""
    reader, tally = READERS[name], Tally(name)
    with tempfile.TemporaryDirectory() as folder:
        path = reader.make(Path(folder))
        content = path.read_bytes()
        reader.read(path)  # the real file is read, and everything imported
        gc.collect()
        gc.freeze()  # a fork then copies what it changes, not what its collector looks at
        for seed in range(start, stop):
            path.write_bytes(reader.mutate(content, Random(seed)))
            child = os.fork()
            if not child:
                _read(reader, path)
            _, status, usage = os.wait4(child, 0)
            tally.add(status, usage, seed, reader.confined)
    return tally


def _read(reader: Reader, path: Path) -> None:
    """Read in this process, which ends with it."""
    code = OUR_BUG
    try:
        faulthandler.disable()
        _limit()
        reader.read(path)
        code = ACCEPTED
    except EdgekdError as error:
        shown = visible(str(error))
        code = REFUSED if error.exit_code in (2, 3) and len(shown) < 5_000 else OUR_BUG
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    context = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (context, context))
    signal.alarm(WALL)


def main(names: str, start: int, stop: int) -> None:
    """Fuzz some readers, or `all`."""
    for name in READERS if names == "all" else names.split(","):
        print(json.dumps(asdict(fuzz(name, start, stop))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
