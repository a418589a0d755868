"""Another processor behind ssh: what a bundle made here answers on an emulated arm64 and an emulated armv7 board."""

import json
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from edgekd.cli import app
from edgekd.devices import open_device
from edgekd.errors import DeviceUnauthorizedError
from edgekd.measure.facts import machine_facts
from edgekd.measure.results import read_rows
from tests.devices.conftest import Start, need
from tests.devices.emulated import Emulated, OldPi, Pi
from tests.devices.processes import eventually
from tests.factories import Net, normalised, reference

TRAINING, TEST = 4000, 200
TARGETS = {"tflite": "raspberry-pi-5", "onnxruntime": "raspberry-pi-5-onnxruntime"}
PROFILES = Path(__file__).parents[2] / "targets"
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
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model.onnx`, which knows eight garments in ten, and `calibration.npz`; `test.npz`: images it has not seen."""
    folder = tmp_path_factory.mktemp("classifier")
    with np.load(str(files("edgekd.data") / "fashion_mnist_subset.npz")) as data:
        x, labels = _real(data["x_train"][:TRAINING]), data["y_train"][:TRAINING]
        np.savez(folder / "test.npz", x=_real(data["x_test"][:TEST]), y=data["y_test"][:TEST])
    onnx.save(_fitted(x, labels), folder / "model.onnx")
    np.savez(folder / "calibration.npz", input=x[:200])
    return folder


def _real(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return pixels.astype(np.float32) / 127.5 - 1


def _fitted(x: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> onnx.ModelProto:
    """Two random convolutions under a ridge regression: trained in a second."""
    net = Net(0, x.shape[1:])
    hidden = net.relu(net.conv("input", 1, 16, strides=[2, 2]))
    hidden = net.relu(net.conv(hidden, 16, 32, strides=[2, 2]))
    features = net.op("Flatten", hidden, axis=1)
    model = normalised(net.model(net.gemm(features, 32 * 49, 10)), x[:256])
    design = np.c_[reference(model, x, [features])[features], np.ones(len(x))]
    weights = np.linalg.solve(design.T @ design + 300 * np.eye(design.shape[1]), design.T @ np.eye(10)[labels])
    names = model.graph.node[-1].input[1:]
    for constant in model.graph.initializer:
        if constant.name in names:
            value = weights[:-1].T if constant.name == names[0] else weights[-1]
            constant.CopyFrom(numpy_helper.from_array(value.astype(np.float32), constant.name))
    return model


@pytest.fixture(scope="module")
def bundles(classifier: Path) -> dict[str, Path]:
    """By backend, as a user makes them, but for one thread: four would spin on two emulated cores."""
    command = ["export", classifier / "model.onnx", "--calibration", classifier / "calibration.npz"]
    made = {}
    for backend, target in TARGETS.items():
        profile = classifier / f"{target}.toml"
        profile.write_text((PROFILES / profile.name).read_text().replace("threads = 4", "threads = 1"))
        made[backend] = Path(edgekd(*command, "--target", profile, "--out", classifier)["bundle"])
    return made


def test_int8_answers_on_arm_as_it_does_here(board: Emulated, bundles: dict[str, Path], classifier: Path) -> None:
    _verify(board, bundles["tflite"], classifier)


def test_onnx_runtime_answers_on_arm_as_it_does_here(pi: Emulated, bundles: dict[str, Path], classifier: Path) -> None:
    _verify(pi, bundles["onnxruntime"], classifier)


def _verify(board: Emulated, bundle: Path, classifier: Path) -> None:
    """On the board and here at once: two devices, one verdict each.

    The kernels of another processor, and on armv7 of another version, round halves otherwise: measured was one step at
    most, in one output of twenty, and no class; so two steps, which the backend promises, and two samples of 200.
    """
    devices = ["--device", board.uri, "--device", "local:"]
    there, here = edgekd("verify", bundle, "--data", classifier / "test.npz", *devices)
    assert there["ok"]
    assert there["samples"] == TEST
    assert here["accuracy"] > 0.8
    assert abs(there["accuracy"] - here["accuracy"]) <= 2 / TEST
    difference = there["difference"]
    assert difference["points"] == pytest.approx(100 * (there["accuracy"] - here["accuracy"]))
    assert [row["max_steps"] <= 2.001 and row["argmax_changes"] <= 2 for row in difference["outputs"]] == [True]
    assert board.leftovers() == []


def test_a_row_says_what_board_it_is_of_and_that_it_is_emulated(
    board: Emulated, bundles: dict[str, Path], tmp_path: Path
) -> None:
    edgekd("bench", bundles["tflite"], "--device", board.uri, *QUICK, "--out", tmp_path / "results.jsonl")
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
