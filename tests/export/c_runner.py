"""The C runner, built from export/c. What is missing skips with the reason, or fails where EDGEKD_REQUIRE_DEVICES=1."""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.missing import miss

ROOT = Path(__file__).parents[2]
SOURCES, DEVICES = ROOT / "export" / "c", ROOT / ".devices"  # the latter by tests/devices/install
LIBRARY = "pymicro_wakeword/lib/libtensorflowlite_c.so"
LIBRARIES = {"x86_64": DEVICES / "amd64-tflite-c" / LIBRARY, "aarch64": DEVICES / "arm64-tflite-c" / LIBRARY}
COMPILERS = {"x86_64": "gcc", "aarch64": "aarch64-linux-gnu-gcc"}
QEMU = ["qemu-aarch64-static", "-cpu", "cortex-a76", "-L", str(DEVICES / "arm64")]
Records = list[dict[str, Any]]


def build(folder: Path, arch: str = "x86_64") -> Path:
    """The program in `folder`, the TensorFlow Lite library of its architecture beside it."""
    need(*(COMPILERS[arch], "cmake"), *(QEMU[:1] if arch != "x86_64" else []))
    if not LIBRARIES[arch].exists():
        miss("devices", f"no TensorFlow Lite C library for {arch}")
    configure = ["cmake", "-S", SOURCES, "-B", folder / "build", f"-DTFLITE_C={LIBRARIES[arch]}"]
    configure += [] if arch == "x86_64" else [f"-DCMAKE_TOOLCHAIN_FILE=toolchains/{arch}.cmake"]
    succeed(*configure)
    succeed("cmake", "--build", folder / "build", "--parallel", "2")
    succeed("cmake", "--install", folder / "build", "--prefix", folder / "runner", "--strip")
    return folder / "runner" / "edgekd-runner"


def call(program: Path, *arguments: object) -> tuple[int, Records]:
    """Exit code and records of one run, on the emulated processor where it is of another architecture."""
    argv = [*(QEMU if _foreign(program) else []), program, *arguments]
    finished = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=120)
    records = [json.loads(line) for line in finished.stdout.splitlines()]
    assert records, finished.stderr
    assert records[-1]["record"] == "end"
    return finished.returncode, records


def failure(program: Path, *arguments: object) -> tuple[int, str, str]:
    """Exit code, kind and message of a run that has to fail."""
    code, records = call(program, *arguments)
    end = records[-1]
    assert not end["ok"]
    assert len(end["error"].splitlines()) == 1
    return code, end["kind"], end["error"]


def succeed(*argv: object) -> None:
    finished = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            miss("devices", f"no {program} here")


@cache
def _foreign(program: Path) -> bool:
    with program.open("rb") as stream:
        machine = stream.read(20)[18:]  # e_machine of an ELF header; 183 is AArch64
    return machine == (183).to_bytes(2, "little") and os.uname().machine != "aarch64"
