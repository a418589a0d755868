"""Several processes of one launch, started as torchrun would, but each within reach of a test's signals."""

import os
import socket
import subprocess
import sys
from typing import Any


def launch(*arguments: Any, size: int = 2) -> list[subprocess.Popen[str]]:
    """`python ARGUMENTS…` in `size` processes; they talk over a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "LOCAL_WORLD_SIZE": size}
    group = []
    for number in range(size):
        own = {name: str(value) for name, value in (common | {"RANK": number, "LOCAL_RANK": number}).items()}
        argv, pipe = [sys.executable, *map(str, arguments)], subprocess.PIPE
        group.append(subprocess.Popen(argv, env=os.environ | own, stdout=pipe, stderr=pipe, text=True))
    return group


def finish(group: list[subprocess.Popen[str]], seconds: float = 240) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each; a process that hangs fails the test, and none is left behind."""
    try:
        said = [process.communicate(timeout=seconds) for process in group]
        return [(process.returncode, *streams) for process, streams in zip(group, said, strict=True)]
    finally:
        for process in group:
            process.kill()
