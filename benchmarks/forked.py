"""Run pytest in forks of this process, where all third-party packages are imported once."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

THIRD_PARTY = (
    "torch accelerate safetensors.torch onnx onnxscript onnxruntime openvino ai_edge_litert.interpreter numpy "
    "pydantic hypothesis.extra.numpy typer rich.console jinja2 tensorrt_rtx tokenizers"
)
MEMORY = 8 << 30  # bytes of data: a change may make a loop that takes all there is
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov")


def warm_up(tree: Path) -> None:
    """Import what is installed of them; a tree's code is what forks and their children import later."""
    os.environ |= {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would fork processes that call a server
    for name in THIRD_PARTY.split():
        with suppress(ImportError):
            import_module(name)


def fork(tree: Path, job: Callable[[], int], seconds: float) -> int | None:
    """Return a job's exit code, minus the signal that ended it; None where it takes more CPU time, or hangs."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(tree)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        resource.setrlimit(resource.RLIMIT_CPU, (round(seconds) + 1, round(seconds) + 5))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        sys.path.insert(0, str(tree))
        code = 70
        with suppress(BaseException):
            code = job()
        os._exit(code)
    end = time.monotonic() + 20 * seconds + 60  # other programs may take the CPU
    done, status = 0, 0
    while not done and time.monotonic() < end:
        time.sleep(0.02)
        done, status = os.waitpid(child, os.WNOHANG)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        os.waitpid(child, 0)
        return None
    code = os.waitstatus_to_exitcode(status)
    return None if code == -signal.SIGXCPU else code
