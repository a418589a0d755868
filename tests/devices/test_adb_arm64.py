"""A phone without Python: the real adbd, mksh and toybox for arm64, and the C runner, from the command line."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekd.cli import app
from edgekd.files import sha256
from edgekd.target import load_target
from tests.devices import phone as system
from tests.devices.android import Phone
from tests.devices.conftest import Start
from tests.devices.processes import eventually, until
from tests.devices.student import write_student
from tests.export.c_runner import build

SAMPLES = 200
CHANGED = 2  # samples: TensorFlow Lite 2.17 there and LiteRT 2.3 here may round to neighbouring steps; so far none has
SECONDS = "--seconds=71.09"  # an argument that no other process has


def edgekd(*words: object) -> tuple[int, str]:
    """Exit code and what was printed."""
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, result.output


def data_of(student: Path) -> Path:
    return student.parent / "data.npz"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the C runner."""
    return build(tmp_path_factory.mktemp("runner"), "aarch64").parent


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle beside `data.npz`, images that its student has not seen."""
    folder = tmp_path_factory.mktemp("student") / "bundle"
    data = write_student(folder, load_target("pixel-9").model_copy(update={"affinity": None, "threads": 1}))
    np.savez(data_of(folder), x=data.test.inputs[:SAMPLES], y=data.test.labels[:SAMPLES])
    return folder


@pytest.fixture
def phone(start: Start) -> Phone:
    return start(Phone)


@pytest.fixture
def uri(phone: Phone, runner: Path) -> str:
    return f"{phone.uri}?runner={runner}"


def test_what_is_proven_here_holds_there(phone: Phone, uri: str, student: Path) -> None:
    words = ["verify", student, "--data", data_of(student), "--json", "--device"]
    code, output = edgekd(*words, uri)
    assert code == 0, output
    there = json.loads(output)
    assert (there["ok"], there["samples"]) == (True, SAMPLES)
    assert {name: there["kernels"][name] for name in ("int8", "total", "fallback")} == {
        "int8": 3,
        "total": 3,
        "fallback": 0,
    }
    assert there["accuracy"] > 0.7  # ten classes: the student is one, and has learnt something
    difference = there["difference"]
    assert difference["against"] == "host"
    assert abs(difference["points"]) <= 100 * CHANGED / SAMPLES
    assert difference["outputs"][0]["argmax_changes"] <= CHANGED
    assert phone.leftovers() == []


def test_a_row_says_which_phone_and_which_runner(phone: Phone, uri: str, runner: Path, student: Path) -> None:
    out = student.parent / "results.jsonl"
    few = ["--replicates", "2", "--seconds", "0.05", "--count", "5"]
    code, output = edgekd("bench", student, "--device", uri, *few, "--out", out, "--json")
    assert code == 0, output
    row = json.loads(out.read_text())
    machine = row["machine"]
    assert [len(samples) >= 5 for samples in row["samples"]] == [True, True]
    assert machine["cpu"] == "edgekd emulated arm64 phone, qemu-user cortex-a76"
    assert (machine["arch"], machine["parts"], machine["emulated"]) == ("aarch64", ["0xd0b"], True)
    assert "asimddp" in machine["flags"]
    assert machine["android"] == system.PROPERTIES
    assert (machine["python"], machine["missing"]["python"]) == (None, "its runner needs none")
    assert (row["runtime"], row["runner"]) == ("LiteRT C", sha256(runner / "edgekd-runner"))
    assert "emulated" in row["latency"]["flags"]
    assert phone.leftovers() == []


def test_a_phone_that_goes_while_it_measures_is_lost(phone: Phone, uri: str, student: Path) -> None:
    threading.Thread(target=lambda: until(True, SECONDS, 60) and phone.cut()).start()
    code, output = edgekd("bench", student, "--device", uri, SECONDS)
    assert code == 3, output  # adb itself says 0
    assert output.strip().splitlines()[-1].startswith(f"error: {uri} was lost: ")
    assert until(False, SECONDS)
    assert eventually(lambda: phone.leftovers() == [])
