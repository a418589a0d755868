"""What a browser answers is data: a page that lies in any way is refused, and a silent one is not waited for."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.devices import open_device
from edgekd.devices.web import WebDevice
from edgekd.errors import BadInputError, DeviceError, DeviceLostError, MissingRuntimeError
from edgekd.measure import Session
from edgekd.measure.facts import machine_facts
from edgekd.measure.readiness import examine
from edgekd.measure.statistics import summarise
from edgekd.target import load_target
from edgekd.web.runtimes import find_web
from tests.measure.bundles import MakeBundle, golden
from tests.missing import miss
from tests.web.robot import HELLO, Answer, Request, Robot, loaded, message, outputs, timed

Open = Callable[..., tuple[WebDevice, Robot]]


@pytest.fixture
def folder(bundle: MakeBundle) -> Path:
    if not find_web("onnxruntime").installed:
        miss("web", "no runtime for browsers")
    return bundle("onnxruntime")


@pytest.fixture
def opened(capfd: pytest.CaptureFixture[str]) -> Iterator[Open]:
    devices: list[WebDevice] = []

    def get(**answers: Callable[[Request], Answer | bytes]) -> tuple[WebDevice, Robot]:
        device = open_device("web:?wait=20")
        assert isinstance(device, WebDevice)
        devices.append(device)
        link = next(word for word in capfd.readouterr().err.split() if word.startswith("http://127.0.0.1:"))
        return device, Robot(link, **{"load": lambda _: loaded(), **answers})

    yield get
    for device in devices:
        device.close()


def test_the_reference_s_own_outputs_hold_and_are_told_to_the_page(folder: Path, opened: Open) -> None:
    device, robot = opened(infer=lambda _: outputs(golden(folder, "output:logits")))
    (row,) = Session(device, folder).verify()
    assert row.ok
    assert row.max_steps == 0
    device.close()
    robot.thread.join(10)
    assert {"row": "Outputs", "text": "as the reference, within its tolerance", "good": True} in robot.notes


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda x: x[:-1], id="a sample less"),
        pytest.param(lambda x: x.astype(np.int32), id="another type"),
        pytest.param(lambda x: x[:, :-1], id="another shape"),
        pytest.param(lambda x: x[..., None], id="another rank"),
    ],
)
def test_outputs_of_another_form_are_refused(folder: Path, opened: Open, spoil: Any) -> None:
    device, _ = opened(infer=lambda _: outputs(spoil(golden(folder, "output:logits"))))
    with pytest.raises(DeviceError, match="the browser sent 'logits'"):
        Session(device, folder).verify()


def test_bytes_and_count_must_be_those_of_the_shapes(folder: Path, opened: Open) -> None:
    right, content = outputs(golden(folder, "output:logits"))
    answers = iter([(right, content[:-4]), (right, content + b"0000"), outputs()])
    device, _ = opened(infer=lambda _: next(answers))
    for told in ("bytes of outputs", "bytes of outputs", "sent 0 outputs"):
        with pytest.raises(DeviceError, match=told):
            Session(device, folder).verify()


def test_what_is_not_finite_does_not_hold(folder: Path, opened: Open) -> None:
    wrong = golden(folder, "output:logits").copy()
    wrong[3, 0] = np.nan
    device, _ = opened(infer=lambda _: outputs(wrong))
    (row,) = Session(device, folder).verify()
    assert not row.ok


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"\xff\xff\xff\xffnothing", "not a message"),
        (timed(samples_ms=[-1.0]), "samples_ms"),
        (timed(samples_ms=[]), "samples_ms"),
        (timed(first_ms="fast"), "first_ms"),
        (timed(more=1), "more"),
        (loaded(), "something else was asked for"),
        (timed(hidden=True), "hidden while it was timed"),
        (({"kind": "failed", "error": "out of memory"}, b""), "the browser: out of memory"),
    ],
)
def test_times_that_make_no_sense_end_it(folder: Path, opened: Open, answer: Any, told: str) -> None:
    device, _ = opened(time=lambda _: answer)
    with pytest.raises(DeviceError, match=told):
        Session(device, folder).bench(0.01, 1)


def test_a_coarse_clock_and_fewer_threads_are_told(folder: Path, opened: Open) -> None:
    device, robot = opened(load=lambda _: loaded(clock_ms=0.1), time=lambda _: timed(block=7))
    timing = Session(device, folder, threads=2).bench(0.01, 1).timing
    assert timing.block == 7
    assert summarise([timing], [5.0]).p99 is None  # means hide the tail
    assert timing.threads == 1
    assert "7 inferences: the clock steps by 100 µs" in timing.missing["p99"]
    assert "2 were asked for" in timing.missing["threads"]
    assert [request["do"] for request in robot.requests] == ["load", "time"]


def test_software_that_plays_a_gpu_is_not_timed(folder: Path, opened: Open) -> None:
    device, robot = opened(load=lambda _: loaded(gpu="google swiftshader"))
    with pytest.raises(DeviceError, match="its outputs are valid, its latency is not"):
        Session(device, folder).bench(0.01, 1)
    assert [request["do"] for request in robot.requests] == ["load"]


def test_a_page_that_goes_ends_what_it_did(folder: Path, opened: Open) -> None:
    device, _ = opened(load=lambda _: message({"kind": "gone"}))
    with pytest.raises(DeviceLostError, match="the page was closed"):
        Session(device, folder).verify()


def test_a_page_that_is_loaded_again_does_not_go_on(folder: Path, opened: Open) -> None:
    """The new page may be there before anybody has noticed that the old one went."""
    device, robot = opened(load=lambda _: again())

    def again() -> Answer:
        robot.post({"kind": "gone"})
        robot.post(HELLO)
        return loaded()

    with pytest.raises(DeviceLostError, match="loaded again"):
        Session(device, folder).verify()


def test_the_machine_is_what_the_page_tells(opened: Open) -> None:
    machine = machine_facts(opened()[0])
    assert (machine.cpu, machine.arch, machine.cores) == ("a browser on nowhere", "wasm", 2)
    assert machine.missing["governor"] == "a browser does not tell"


def test_a_browser_is_examined_without_a_shell(folder: Path, opened: Open) -> None:
    device, _ = opened()
    ready = examine(device, load_target("web-onnxruntime"))
    assert ready["ready"]
    assert {
        "component": "onnxruntime",
        "for": "onnxruntime bundles",
        "found": "onnxruntime-web 1.30.0",
        "get it": "",
    } in (ready["components"])
    other = examine(device, load_target("x86-openvino"))
    assert not other["ready"]
    assert other["components"][-1]["get it"] == "this device cannot run it"


def test_nobody_who_opens_the_link_is_an_error_of_its_own(folder: Path) -> None:
    with (
        closing(open_device("web:?wait=0.1")) as device,
        pytest.raises(DeviceError, match=r"no browser opened .* 0\.1 s"),
    ):
        Session(device, folder).verify()


def test_what_cannot_run_is_refused_before_anybody_waits(
    bundle: MakeBundle, own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_device("web:?wait=60")) as device:
        with pytest.raises(BadInputError, match="openvino does not run in a browser: onnxruntime and tflite do"):
            Session(device, bundle("openvino")).verify()
        with pytest.raises(BadInputError, match="leave out --scenario and --affinity"):
            Session(device, own_bundle, affinity="0").bench(0.01, 1)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        with pytest.raises(MissingRuntimeError, match="edgekd web install"):
            Session(device, own_bundle).verify()
        (own_bundle / "model.onnx").write_bytes(b"other weights")
        with pytest.raises(BadInputError, match="sha256"):
            Session(device, own_bundle).verify()


@pytest.mark.parametrize("uri", ["web", "web:opera", "web:?accelerator=tpu", "web:?wait=soon", "web:chromium?lan=1"])
def test_another_form_is_bad_input(uri: str) -> None:
    with pytest.raises(BadInputError, match="device"):
        open_device(uri)
