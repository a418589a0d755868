"""Another processor behind ssh: what a bundle made here answers on an emulated arm64 and an emulated armv7 board."""

import json
import shlex
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
from edgekd.measure.results import Row, read_rows
from edgekd.target import load_target
from tests.devices.conftest import Start, need
from tests.devices.emulated import Emulated, OldPi, Pi
from tests.devices.processes import comm, eventually
from tests.devices.student import write_student

DEVICES = Path(__file__).parents[2] / "docs" / "devices.md"
SAMPLES = 200
TARGETS = {"tflite": "raspberry-pi-5", "onnxruntime": "raspberry-pi-5-onnxruntime", "ncnn": "raspberry-pi-5-ncnn"}
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


@pytest.fixture
def pi(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> Emulated:
    return _known(boards[Pi], monkeypatch)


@pytest.fixture
def old_pi(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> Emulated:
    return _known(boards[OldPi], monkeypatch)


def _known(board: Emulated, monkeypatch: pytest.MonkeyPatch) -> Emulated:
    for name, value in board.environment.items():
        monkeypatch.setenv(name, value)
    return board


def edgekd(*words: str | Path) -> Any:
    """What a command said with `--json`."""
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles, by backend, and of `test.npz`: images that the student has not seen."""
    folder = tmp_path_factory.mktemp("student")
    for backend, name in TARGETS.items():
        data = write_student(folder / backend, load_target(name).model_copy(update={"threads": 1}))  # four would spin
    np.savez(folder / "test.npz", x=data.test.inputs[:SAMPLES], y=data.test.labels[:SAMPLES])
    return folder


@pytest.mark.long
def test_the_documented_commands_for_a_pi_hold(
    pi: Emulated, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the letter, but for how long it measures. What both Pythons there need is installed: no network is reached."""
    (doctor, verify, bench), of_own_python = map(_documented, ("ssh://pi.local --provision", "ssh://pi.local?"))
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles/raspberry-pi-5").symlink_to(student / "tflite")
    (tmp_path / "test.npz").symlink_to(student / "test.npz")
    monkeypatch.chdir(tmp_path)
    examined = edgekd(*doctor)
    assert examined["ready"]
    assert _found(examined) == {"python": "3.11.2", "numpy": np.__version__, "tflite": "ai_edge_litert"}
    _assert_as_here(edgekd(*verify))
    edgekd(*bench, *QUICK)
    row = _assert_of(pi, tmp_path / "results.jsonl", "aarch64", "0xd0b")
    assert {"asimd", "asimddp"} <= set(row.machine.flags)
    assert row.options["package"] == "ai_edge_litert"
    assert row.metric is not None
    (tmp_path / "results.jsonl").unlink()
    for words in of_own_python[:-1]:
        edgekd(*words)
    edgekd(*of_own_python[-1], *QUICK)
    _assert_of(pi, tmp_path / "results.jsonl", "aarch64", "0xd0b")
    _assert_idle(pi)


def _documented(device: str) -> list[list[str]]:
    """The commands of the block that names a device."""
    block = next(block for block in DEVICES.read_text(encoding="utf-8").split("```") if device in block)
    return [shlex.split(line)[1:] for line in block.splitlines() if line.startswith("edgekd ")]


@pytest.mark.long
def test_onnx_runtime_answers_on_arm64_as_it_does_here(pi: Emulated, student: Path) -> None:
    _verify_with_the_host(pi, student / "onnxruntime")


@pytest.mark.long
def test_ncnn_answers_on_arm64_bit_for_bit_as_it_does_here(pi: Emulated, student: Path, tmp_path: Path) -> None:
    """Its int8 sums are exact, and its float operations the same ones on both."""
    logits = _verify_with_the_host(pi, student / "ncnn")
    assert logits["max_steps"] == 0
    edgekd("bench", student / "ncnn", "--device", pi.uri, *QUICK, "--out", tmp_path / "results.jsonl")
    row = _assert_of(pi, tmp_path / "results.jsonl", "aarch64", "0xd0b")
    assert (row.runtime, row.precision) == ("Ncnn", "f32")


@pytest.mark.long
def test_tensorflow_lite_answers_on_armv7_as_it_does_here(old_pi: Emulated, student: Path, tmp_path: Path) -> None:
    _verify_with_the_host(old_pi, student / "tflite")
    edgekd("bench", student / "tflite", "--device", old_pi.uri, *QUICK, "--out", tmp_path / "results.jsonl")
    row = _assert_of(old_pi, tmp_path / "results.jsonl", "armv7l", "0xc07")
    assert (row.runtime_version, row.options["package"]) == ("2.14.0", "tflite_runtime")


def test_doctor_sees_what_an_old_board_cannot_have(old_pi: Emulated) -> None:
    examined = edgekd("doctor", "--device", old_pi.uri)
    found = _found(examined)
    assert examined["ready"]
    assert (found["tflite"], found["onnxruntime"], found["openvino"]) == ("tflite_runtime", "missing", "missing")


def _verify_with_the_host(board: Emulated, bundle: Path) -> dict[str, Any]:
    """Two devices at once, one verdict each; how the board's outputs differ."""
    devices = ["--device", board.uri, "--device", "local:"]
    there, here = edgekd("verify", bundle, "--data", bundle.parent / "test.npz", *devices)
    assert here["accuracy"] > 0.7
    assert there["difference"]["points"] == pytest.approx(100 * (there["accuracy"] - here["accuracy"]))
    _assert_idle(board)
    return _assert_as_here(there)


def _assert_as_here(verdict: dict[str, Any]) -> dict[str, Any]:
    """Another processor's kernels, or an older runtime's, may round otherwise.

    Measured: on arm64 no output differs, on armv7 (TFLite 2.14) a tenth of them by one step, and one class in 200.
    Allowed are the two steps that a backend promises, and four classes.
    """
    assert verdict["ok"]
    assert verdict["samples"] == SAMPLES
    assert abs(verdict["difference"]["points"]) <= 100 * 4 / SAMPLES
    (logits,) = verdict["difference"]["outputs"]
    assert logits["max_steps"] <= 2.001
    assert logits["argmax_changes"] <= 4
    return dict(logits)


def _assert_of(board: Emulated, results: Path, arch: str, part: str) -> Row:
    """The one row, which says what it is of and that its times are none."""
    (row,) = read_rows(results)
    machine, telemetry, clock = row.machine, row.telemetry, board.max_mhz
    assert "(emulated)" in machine.cpu
    assert (machine.cpu, machine.arch, machine.parts, machine.emulated) == (board.model, arch, (part,), True)
    assert (machine.governor, machine.frequency_mhz, machine.max_frequency_mhz) == ("ondemand", clock, clock)
    assert row.latency is not None
    assert "emulated" in row.latency.flags
    assert telemetry is not None
    assert (telemetry.temperature_before, telemetry.capped) == (48.85, False)
    return row


def _assert_idle(board: Emulated) -> None:
    assert board.leftovers() == []
    assert eventually(lambda: [comm(pid) for pid in board.processes()] == ["sshd"])


def _found(examined: dict[str, Any]) -> dict[str, str]:
    """Versions by component, names of runtimes instead of theirs."""
    return {row["component"]: row["found"].partition(" ")[0] for row in examined["components"]}


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
