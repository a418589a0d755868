"""What `doctor` says of a device's state and accelerators, by what the device told of itself."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from edgekd.devices import Device, Finished
from edgekd.measure import readiness
from edgekd.measure.facts import SECTION
from edgekd.measure.gpu import Gpu
from edgekd.measure.readiness import Readiness, examine, examine_device
from edgekd.measure.telemetry import Telemetry, Watch
from edgekd.needs import Needs
from edgekd.runtimes import backend_names
from edgekd.target import Target, load_target
from tests.measure.test_device_python import machine


class Board:
    """A device with a Python that has some modules, and with device nodes."""

    uri, python, runner, workspace = "ssh://board", "python3", None, "/tmp"

    def __init__(self, modules: dict[str, str], load: str, nodes: str, **facts: Any) -> None:
        self.modules, self.load, self.nodes, self.machine = modules, load, nodes, machine(**facts)
        self.managed = False

    def facts(self) -> dict[str, Any]:
        return self.machine.model_dump()

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        assert timeout >= 60
        inventory = json.dumps({"modules": self.modules, "home": "/home/pi", "managed": self.managed})
        said = {"inventory": inventory, "load": self.load, "nodes": self.nodes}
        return Finished(0, "".join(f"\n{SECTION}{name}\n{text}\n" for name, text in said.items()), "")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """What a watch of the device gives: nothing, until a test says what."""
    watched = Watch()

    @contextmanager
    def watch(device: Device) -> Iterator[Watch]:
        yield watched

    monkeypatch.setattr(readiness, "watch", watch)
    return watched


def examined(
    target: Target | None = None, modules: dict[str, str] | None = None, load: str = "0.1 0.1 0.1 1/99 7",
    nodes: str = "", managed: bool = False, **facts: Any,
) -> Readiness:  # fmt: skip
    board = Board({"numpy": "2.0"} if modules is None else modules, load, nodes, **facts)
    board.managed = managed
    return examine(cast("Device", board), target)


def state(found: Readiness) -> dict[str, tuple[str, str]]:
    return {row["what"]: (row["found"], row["advice"]) for row in found["state"]}


def parts(found: Readiness) -> dict[str, tuple[str, str]]:
    return {row["component"]: (row["found"], row["get it"]) for row in found["components"]}


@pytest.mark.parametrize(
    ("governor", "load", "said"),
    [
        ("performance", "0.5 9 9", {"governor": ("performance", ""), "load": ("0.5", "")}),
        ("powersave", "2.0", {"governor": ("powersave", "performance keeps the clock up"), "load": ("2.0", "")}),
        (None, "2.1 0 0", {"governor": ("unknown", ""), "load": ("2.1", "something else is running")}),
        (None, "", {"governor": ("unknown", ""), "load": ("unknown", "")}),
    ],
)
def test_a_governor_and_a_load_of_more_than_half_the_cores_are_told(
    governor: str | None, load: str, said: dict[str, tuple[str, str]], seen: Watch
) -> None:
    assert state(examined(load=load, governor=governor)) == said


@pytest.mark.parametrize(
    ("told", "row"),
    [
        ({"power_mode": "MAXN"}, ("power mode", "MAXN", "")),
        ({"power_mode": "15W"}, ("power mode", "15W", "MAXN SUPER is faster: sudo nvpmodel -m 0")),
        ({"thermal_status": 0}, ("thermal status", "0", "")),
        ({"thermal_status": 1}, ("thermal status", "1", "it holds back already: let it cool")),
        ({"temperature_before": 0.0}, ("temperature", "0 °C", "")),
        ({"temperature_before": 61.7, "capped": False}, ("temperature", "62 °C", "")),
        (
            {"temperature_before": 61.2, "capped": True},
            ("temperature", "61 °C", "it holds back already: heat, or too weak a supply"),
        ),
        ({"charging": True}, ("battery", "charging", "no power is measured while it is charged")),
        ({"charging": False}, ("battery", "discharging", "")),
    ],
)
def test_what_only_some_devices_tell_is_one_row(told: dict[str, Any], row: tuple[str, str, str], seen: Watch) -> None:
    seen.telemetry = Telemetry(seconds=1, samples=2, **told)
    board = load_target("jetson-orin-nano")
    found = {what: said for what, said in state(examined(board)).items() if what in ("governor", "load", row[0])}
    if row == ("power mode", "MAXN", ""):
        found = state(examined())  # no target: no mode is known to be better
    assert found == {"governor": ("unknown", ""), "load": ("0.1", ""), row[0]: row[1:]}


@pytest.mark.parametrize(
    ("told", "found", "advice"),
    [
        ({"frequency_mhz": 210, "max_frequency_mhz": 2520, "temperature_highest": 35.2}, "210 of 2520 MHz, 35 °C", ""),
        ({"max_frequency_mhz": 2520}, "2520 MHz", ""),
        ({"frequency_mhz": 0, "temperature_highest": 0, "busy": 0.05}, "0 MHz, 0 °C", ""),
        ({"frequency_mhz": 210, "busy": 0.06}, "210 MHz", "something else computes on it"),
        ({"frequency_mhz": 210, "capped": ("heat", "power cap")}, "210 MHz", "it holds back already: heat, power cap"),
        (
            {"frequency_mhz": 210, "capped": ("heat",), "busy": 1.0},
            "210 MHz",
            "it holds back already: heat; something else computes on it",
        ),
    ],
)
def test_a_gpu_is_one_row_of_what_it_tells(told: dict[str, Any], found: str, advice: str, seen: Watch) -> None:
    seen.telemetry = Telemetry(seconds=1, samples=2, gpu=Gpu(samples=2, **told))
    assert state(examined())["GPU"] == (found, advice)


def test_a_device_that_is_not_what_the_target_says_is_doubted(seen: Watch) -> None:
    assert state(examined(load_target("jetson-orin-nano"), cores=4))["cores"][0] == "4 of 6"
    assert "cores" not in state(examined(cores=4))


@pytest.mark.parametrize(
    ("nodes", "gpu", "kernel", "found", "get"),
    [
        ("", None, "6.6", "missing", True),
        ("", "NVIDIA RTX", "6.6", "NVIDIA RTX", False),
        ("", None, "5.15-tegra", "of the Jetson", False),
    ],
)
def test_tensorrt_is_reached_by_a_driver_or_a_jetson(
    nodes: str, gpu: str | None, kernel: str, found: str, get: bool, seen: Watch
) -> None:
    row = parts(examined(load_target("rtx-4090"), nodes=nodes, gpu=gpu, kernel=kernel))["GPU"]
    assert (row[0], bool(row[1])) == (found, get)


@pytest.mark.parametrize(
    ("nodes", "found", "advice"),
    [
        ("", "missing", "intel/linux-npu-driver"),
        ("/dev/accel/accel0: closed", "missing", "usermod"),
        ("/dev/accel/accel0: closed\n/dev/accel/accel1: open", "/dev/accel/accel1", ""),
        ("/dev/dri/renderD128: open", "missing", "intel/linux-npu-driver"),
    ],
)
def test_an_npu_is_reached_by_a_node_that_is_open(nodes: str, found: str, advice: str, seen: Watch) -> None:
    row = parts(examined(load_target("intel-npu"), nodes=nodes))["NPU"]
    assert row[0] == found
    assert advice in row[1]


def test_a_target_is_ready_where_nothing_is_missing(seen: Watch) -> None:
    target = load_target("x86-onnxruntime")
    whole = {"numpy": "2.0", "onnxruntime": "1.24"}
    assert examined(target, whole)["ready"]
    assert not examined(target, {"numpy": "2.0"})["ready"]
    assert not examined(target, {"onnxruntime": "1.24"})["ready"]
    assert not examined(target, whole, python="3.7.1")["ready"]
    assert examined(target, whole, managed=True)["ready"]


def test_without_a_target_one_backend_is_enough(seen: Watch) -> None:
    found = examined(modules={"numpy": "2.0", "onnxruntime": "1.24"})
    assert found["ready"]
    assert list(parts(found)) == ["python", "numpy", *backend_names()]
    assert parts(found)["onnxruntime"] == ("onnxruntime 1.24", "")
    assert not examined(modules={"numpy": "2.0"})["ready"]
    assert found["prepare"] == []


def test_a_venv_is_advised_where_pip_is_the_systems_and_something_is_lacking(seen: Watch) -> None:
    lacking = examined(load_target("x86-onnxruntime"), {"numpy": "2.0"}, managed=True)
    assert list(parts(lacking)) == ["python", "venv", "numpy", "onnxruntime"]
    assert parts(lacking)["venv"][1].startswith("python3 -m venv /home/pi/edgekd, then name it")
    assert "venv" not in parts(examined(load_target("x86-onnxruntime"), {"numpy": "2.0"}))
    whole = {"numpy": "2.0", "onnxruntime": "1.24"}
    assert "venv" not in parts(examined(load_target("x86-onnxruntime"), whole, managed=True))


Records = list[dict[str, Any]]
HERE = {"runtime": "LiteRT", "runtime_version": "2.1"}
END = {"record": "end", "ok": True}


class Own(Board):
    """A device with a runner of its own, which answers so."""

    def __init__(self, records: Records) -> None:
        super().__init__({}, "", "")
        self.records, self.runner = records, Path("runner")  # type: ignore[assignment]

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        if argv[-1] == "--version":
            assert (list(argv), timeout) == (["./runner", "--version"], 60)
            return Finished(0, "".join(f"{json.dumps(record)}\n" for record in self.records), "")
        return super().run(argv, timeout)


def by_itself(monkeypatch: pytest.MonkeyPatch, records: Records, target: str | None = None) -> Readiness:
    @contextmanager
    def runner_on(device: Device, backend: str) -> Iterator[list[str]]:
        assert backend == "tflite"
        yield ["./runner"]

    monkeypatch.setattr(readiness, "runner_on", runner_on)
    return examine(cast("Device", Own(records)), load_target(target) if target else None)


@pytest.mark.parametrize(
    ("records", "target", "found", "ready"),
    [
        ([{"record": "version", **HERE}, END], None, {"tflite": ("LiteRT 2.1", "")}, True),
        ([{"record": "version", **HERE}, END], "raspberry-pi-5", {"tflite": ("LiteRT 2.1", "")}, True),
        (
            [{"record": "version", **HERE}, END], "x86-onnxruntime",
            {"tflite": ("LiteRT 2.1", ""), "onnxruntime": ("missing", "it takes run.py: drop ?runner=")}, False,
        ),
        (
            [{"record": "version", **HERE, "backend": "ncnn"}, END], "x86-onnxruntime",
            {"ncnn": ("LiteRT 2.1", ""), "onnxruntime": ("missing", "this device cannot run it")}, False,
        ),
        (
            [{"record": "version", **HERE, "backend": name} for name in ("ncnn", "onnxruntime")] + [END],
            "x86-onnxruntime", {"ncnn": ("LiteRT 2.1", ""), "onnxruntime": ("LiteRT 2.1", "")}, True,
        ),
        (
            [{"record": "version", "runtime": "LiteRT", "runtime_version": None, "get": "build it"}, END], None,
            {"tflite": ("missing", "build it")}, False,
        ),
        ([{"record": "end", "ok": False, "error": "no libc"}], None, {"tflite": ("missing", "no libc")}, False),
        (
            [{"record": "end", "ok": False}], "x86-onnxruntime",
            {"tflite": ("missing", ""), "onnxruntime": ("missing", "it takes run.py: drop ?runner=")}, False,
        ),
    ],
)  # fmt: skip
def test_a_runner_of_its_own_says_what_it_has(
    records: Records, target: str | None, found: dict[str, tuple[str, str]], ready: bool, seen: Watch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    examined = by_itself(monkeypatch, records, target)
    assert (parts(examined), examined["ready"]) == (found, ready)


@pytest.mark.parametrize(
    ("lacking", "target", "given"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_what_is_lacking_is_given_where_it_is_asked_for(
    lacking: bool, target: bool, given: bool, seen: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, asked = Board({"numpy": "2.0"}, "", ""), list[str]()
    board.close = lambda: asked.append("closed")  # type: ignore[attr-defined]

    def provision(device: Board, needs: Sequence[Needs]) -> bool:
        asked.extend(each.title for each in needs)
        device.python = "/env/python"
        return True

    monkeypatch.setattr(readiness, "open_device", lambda uri: board)
    monkeypatch.setattr(readiness, "provision", provision)
    found = examine_device("ssh://board", "x86-onnxruntime" if target else None, lacking=lacking)
    assert asked == (["ONNX Runtime", "closed"] if given else ["closed"])
    assert found.get("python") == ("/env/python" if given else None)
