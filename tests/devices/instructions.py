"""How many instructions an ARM core executes for one inference: exact, the same on every machine, and no latency.

The C runner, alone on one emulated core and with one thread, under qemu's plugin interface. Cycles, caches and memory
do not count: two kernels with equally many instructions may differ by a factor in time.
"""

import re
import subprocess
from pathlib import Path

from tests.devices.cores import write_identity

ROOT = Path(__file__).parents[2]
LIBRARIES = ROOT / ".devices/arm64"  # by tests/devices/install
PLUGIN = Path(__file__).with_suffix(".c")
CORES = ("cortex-a53", "cortex-a76")  # without and with int8 dot products
FEW, MANY = 1, 21  # inferences, whose difference leaves start, load and warm-up out
SECONDS = 1e-9  # the runner's least time, which is to end nothing


class Counter:
    """Counts on one kind of core; `runner` is the program for aarch64 beside its library, `folder` to work in."""

    def __init__(self, folder: Path, runner: Path, core: str) -> None:
        self._runner, self._core = runner, core
        self._plugin, self._root = folder / "instructions.so", folder / core
        subprocess.run(["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", self._plugin, PLUGIN], check=True)
        write_identity(self._root, core, count=1)
        for name in ("lib", "usr"):
            (self._root / name).symlink_to(LIBRARIES / name)

    def per_inference(self, bundle: Path, *options: str) -> float:
        """Instructions of one inference of a bundle; `options` are the runner's, such as "delegate=none"."""
        few, many = (self._executed(bundle, count, options) for count in (FEW, MANY))
        return (many - few) / (MANY - FEW)

    def _executed(self, bundle: Path, count: int, options: tuple[str, ...]) -> int:
        qemu = ["qemu-aarch64", "-cpu", self._core, "-L", str(self._root), "-plugin", str(self._plugin)]
        bench = [str(self._runner), "bench", str(bundle), "--threads=1", "--warmup=1", f"--seconds={SECONDS}"]
        bench += [f"--count={count}", *(f"--option={option}" for option in options)]
        done = subprocess.run([*qemu, *bench], capture_output=True, text=True, timeout=300)
        found = re.search(r"^instructions: (\d+)$", done.stderr, re.MULTILINE)
        if done.returncode or not found:
            raise RuntimeError(f"{bundle} on {self._core}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return int(found[1])


def qemu_version() -> str:
    """Such as "7.2.22"."""
    said = subprocess.run(["qemu-aarch64", "--version"], check=True, capture_output=True, text=True).stdout
    return said.split()[2]
