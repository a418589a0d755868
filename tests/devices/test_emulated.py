"""Another processor behind ssh: what a bundle made here answers on an emulated arm64 and an emulated armv7 board."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekd.cli import app
from edgekd.devices import open_device
from edgekd.errors import DeviceUnauthorizedError
from edgekd.measure.facts import machine_facts
from edgekd.measure.results import read_rows
from edgekd.target import load_target
from tests.devices.conftest import Start, need
from tests.devices.emulated import Emulated, OldPi, Pi
from tests.devices.processes import comm, eventually
from tests.devices.student import write_student

SAMPLES = 200
TARGETS = {"tflite": "raspberry-pi-5", "onnxruntime": "raspberry-pi-5-onnxruntime"}
QUICK = ["--replicates", "1", "--seconds", "0.02", "--count", "3"]
Boards = dict[type[Emulated], Emulated]


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    """Both, at once."""
    for kind in (Pi, OldPi):
        need(kind)
    started: Boards = {kind: kind(tmp_path_factory.mktemp("d")) for kind in (Pi, OldPi)}
    yield started
    for board in started.values():
        board.stop()


@pytest.fixture(params=[Pi, OldPi], ids=["arm64", "armv7"])
def board(request: pytest.FixtureRequest, boards: Boards, monkeypatch: pytest.MonkeyPatch) -> Emulated:
    return _known(boards[request.param], monkeypatch)


@pytest.fixture
def pi(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> Emulated:
    return _known(boards[Pi], monkeypatch)


def _known(board: Emulated, monkeypatch: pytest.MonkeyPatch) -> Emulated:
    for name, value in board.environment.items():
        monkeypatch.setenv(name, value)
    return board


def edgekd(*words: str | Path, code: int = 0) -> Any:
    """What a command said with `--json`."""
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles, by backend, and of `test.npz`: images that the student has not seen."""
    folder = tmp_path_factory.mktemp("student")
    for backend, name in TARGETS.items():
        data = write_student(folder / backend, load_target(name).model_copy(update={"threads": 1}))  # four would spin
    np.savez(folder / "test.npz", x=data.test.inputs[:SAMPLES], y=data.test.labels[:SAMPLES])
    return folder


def test_int8_answers_on_arm_as_it_does_here(board: Emulated, student: Path) -> None:
    _verify(board, student / "tflite")


def test_onnx_runtime_answers_on_arm_as_it_does_here(pi: Emulated, student: Path) -> None:
    _verify(pi, student / "onnxruntime")


def _verify(board: Emulated, bundle: Path) -> None:
    """On the board and here at once: two devices, one verdict each.

    Another processor's kernels, or an older runtime's, may round otherwise. Measured: on arm64 no output differs, on
    armv7 (TFLite 2.14) a tenth of them by one step, and one class in 200. Allowed are the two steps that a backend
    promises, and four classes.
    """
    devices = ["--device", board.uri, "--device", "local:"]
    there, here = edgekd("verify", bundle, "--data", bundle.parent / "test.npz", *devices)
    assert there["ok"]
    assert there["samples"] == SAMPLES
    assert here["accuracy"] > 0.7
    assert abs(there["accuracy"] - here["accuracy"]) <= 4 / SAMPLES
    difference = there["difference"]
    assert difference["points"] == pytest.approx(100 * (there["accuracy"] - here["accuracy"]))
    assert [row["max_steps"] <= 2.001 and row["argmax_changes"] <= 4 for row in difference["outputs"]] == [True]
    assert board.leftovers() == []
    assert eventually(lambda: [comm(pid) for pid in board.processes()] == ["sshd"])


def test_a_row_says_what_board_it_is_of_and_that_it_is_emulated(board: Emulated, student: Path, tmp_path: Path) -> None:
    edgekd("bench", student / "tflite", "--device", board.uri, *QUICK, "--out", tmp_path / "results.jsonl")
    (row,) = read_rows(tmp_path / "results.jsonl")
    machine, telemetry = row.machine, row.telemetry
    assert machine.cpu == board.model
    assert "(emulated)" in machine.cpu
    assert (machine.arch, machine.parts) == {Pi: ("aarch64", ("0xd0b",)), OldPi: ("armv7l", ("0xc07",))}[type(board)]
    assert ({"asimd", "asimddp"} <= set(machine.flags)) is isinstance(board, Pi)
    assert machine.emulated
    assert row.latency is not None
    assert "emulated" in row.latency.flags
    assert row.options["package"] == {Pi: "ai_edge_litert", OldPi: "tflite_runtime"}[type(board)]
    assert telemetry is not None
    assert (telemetry.temperature_before, telemetry.capped) == (48.85, False)
    assert (machine.governor, machine.frequency_mhz, machine.max_frequency_mhz) == (
        "ondemand", board.max_mhz, board.max_mhz
    )  # fmt: skip


def test_doctor_sees_what_is_there_and_what_is_missing(board: Emulated) -> None:
    found = edgekd("doctor", "--device", board.uri)
    there = {row["component"]: row["found"] for row in found["components"]}
    runtimes = {name: there[name].partition(" ")[0] for name in ("tflite", "onnxruntime", "openvino")}
    assert found["ready"]
    assert (
        runtimes
        == {
            Pi: {"tflite": "ai_edge_litert", "onnxruntime": "onnxruntime", "openvino": "missing"},
            OldPi: {"tflite": "tflite_runtime", "onnxruntime": "missing", "openvino": "missing"},
        }[type(board)]
    )
    advice = {row["component"]: row["get it"] for row in found["components"]}["openvino"]
    assert ("pip install openvino" in advice) is isinstance(board, Pi), "there is no wheel for armv7"


def test_wrong_keys_are_refused(start: Start) -> None:
    board = start(Pi)
    board.configure(key="stranger")
    with pytest.raises(DeviceUnauthorizedError, match=r"Permission denied \(publickey\)"):
        open_device(board.uri)
    board.configure()
    board.trust("stranger")
    with pytest.raises(DeviceUnauthorizedError, match="Host key verification failed"):
        open_device(board.uri)


def test_a_board_that_is_switched_off_leaves_no_process(start: Start) -> None:
    board = start(Pi)
    with closing(open_device(board.uri)) as device:
        assert machine_facts(device).arch == "aarch64"
        inside = board.processes()
        assert inside
        board.stop()
        assert eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside))
