"""Vela, Arm's compiler for Ethos-U, in a process of its own: what it writes, and what it says of each operator."""

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from edgekd.reading import reading

CONFIG = "Arm/vela.ini"
SECONDS = 600
MODEL = "model"
REFUSED = re.compile(r"^Warning \(supported operators\) operator: .*?, ofm: '(.*)'\n((?:.+\n)+)", re.MULTILINE)
LONGEST = 300  # characters of a reason
Row = Mapping[str, str]


@dataclass(frozen=True)
class Setting:
    """What Vela compiles for, in its own words."""

    accelerator: str
    system_config: str
    memory_mode: str


@dataclass(frozen=True)
class Answer:
    """The compiled file; a row of figures for the whole, one or more for each operator; reasons by tensor."""

    content: bytes
    summary: Row
    rows: Sequence[Row]
    reasons: Mapping[str, str]


class VelaError(Exception):
    """Vela made no file: all that it said, and the last line of that."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said
        self.reason = (said.strip().splitlines() or ["it says nothing"])[-1].strip()


def vela_version() -> str:
    """As its package says it."""
    return f"Vela {version('ethos-u-vela')}"


def compiled_by_vela(content: bytes, setting: Setting, seconds: float = SECONDS) -> Answer:
    """Compile a .tflite file; VelaError in its own words where it fails, or does not end."""
    with tempfile.TemporaryDirectory(prefix="edgekd-") as name:
        folder = Path(name)
        (folder / f"{MODEL}.tflite").write_bytes(content)
        said = _run(folder, setting, seconds)
        with reading(f"the reports of {vela_version()}", "as known"):
            per_layer, summary = (
                _table(folder / f"{MODEL}_{end}.csv") for end in ("per-layer", f"summary_{setting.system_config}")
            )
        return Answer((folder / f"{MODEL}_vela.tflite").read_bytes(), summary[0], per_layer, _reasons(said))


def _run(folder: Path, setting: Setting, seconds: float) -> str:
    argv = [
        sys.executable, "-P", "-m", "ethosu.vela", f"{MODEL}.tflite", "--config", CONFIG, "--output-dir", ".",
        "--accelerator-config", setting.accelerator, "--system-config", setting.system_config,
        "--memory-mode", setting.memory_mode, "--show-cpu-operations", "--verbose-performance",
    ]  # fmt: skip
    try:
        finished = subprocess.run(
            argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise VelaError(f"it does not end within {seconds:g} s") from error
    if finished.returncode or not (folder / f"{MODEL}_vela.tflite").is_file():
        said = finished.stderr.strip() or finished.stdout.strip()
        ended = f"\nit is ended by {signal.Signals(-finished.returncode).name}" if finished.returncode < 0 else ""
        raise VelaError(said + ended)
    return finished.stdout


def _table(path: Path) -> list[Row]:
    """A CSV file that quotes nothing; the last column may hold anything."""
    head, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    columns = head.split(",")
    return [dict(zip(columns, line.split(",", len(columns) - 1), strict=True)) for line in lines if line.strip()]


def _reasons(said: str) -> dict[str, str]:
    """Why the NPU does not take an operator, by the tensor that it makes."""
    found = {}
    for tensor, told in REFUSED.findall(said):
        lines = [line.removeprefix("Reason: ").strip() for line in told.strip().splitlines()]
        found[tensor] = "; ".join(lines)[:LONGEST]
    return found
