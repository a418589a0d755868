"""What the runner says of memory: the process's peak, and what of it is the model's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekd.backends.tflite.runtime import contains
from edgekd.runner import machine
from tests.export.runner import run
from tests.measure.bundles import MakeBundle, rehash

HOLDING = """
import json
import numpy as np
from edgekd.runner import machine

before = np.ones(100_000_000, np.uint8)
held = machine.status_mb("VmRSS")
del before
memory = machine.Memory()
after = np.ones(50_000_000, np.uint8)
print(json.dumps(dict(memory.fields(), held=held)))
"""


def test_the_models_memory_is_told_apart_from_the_processes() -> None:
    """100 MB held before count for the process alone, 50 MB held after for both; 5 MB are the interpreter's own.

    In a process of its own: one that has run other tests may give memory out again that it has kept.
    """
    done = subprocess.run([sys.executable, "-c", HOLDING], capture_output=True, text=True, timeout=60, check=True)
    fields = json.loads(done.stdout)
    assert fields["peak_rss_mb"] > fields["held"] - 5 > 100  # the kernel counts in batches of pages
    assert fields["model_rss_mb"] == pytest.approx(50, abs=5)


def test_looking_into_a_model_takes_no_memory_of_its_own(bundle: MakeBundle, tmp_path: Path) -> None:
    """100 MB that no runtime touches were once read, in the timed load, to learn what precision the model allows."""
    folder = Path(shutil.copytree(bundle("tflite"), tmp_path / "large"))
    os.truncate(folder / "model.tflite", 100_000_000)
    rehash(folder)
    _, records = run("bench", folder, "--seconds", "0.01", "--count", "5")
    assert records[2]["model_rss_mb"] < 50
    for before in (0, 65_530, 200_000):  # across two of the parts that are read, too
        (tmp_path / "words").write_bytes(bytes(before) + b"some words")
        assert [contains(tmp_path / "words", words) for words in (b"some words", b"others")] == [True, False]


def test_a_peak_that_the_kernel_does_not_reset_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.Path, "write_text", refuse)
    fields = machine.Memory().fields()
    assert fields["peak_rss_mb"] > 10
    assert fields["model_rss_mb"] is None
    assert fields["missing"] == {"model_rss_mb": "the kernel does not reset a peak: Permission denied"}


def test_how_long_it_is_measured_does_not_count_as_the_models(bundle: MakeBundle) -> None:
    """A fifth of 3 s was a warm-up whose samples took 3 MB; two processes differ by some 0.1 MB."""
    short, long = (run("bench", bundle("tflite"), "--seconds", seconds)[1][2] for seconds in ("0.01", "3"))
    assert long["model_rss_mb"] == pytest.approx(short["model_rss_mb"], abs=1)
