"""Sessions on this machine: what the host believes, and what it does not."""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekd import measure
from edgekd.devices import Device, Finished, open_device
from edgekd.devices.local import LocalDevice
from edgekd.errors import BadInputError, DeviceError
from edgekd.measure import MissingRuntimeError, Session
from edgekd.measure.protocol import parse
from edgekd.measure.records import Golden
from tests.measure.bundles import BACKENDS, MakeBundle, edit_manifest, golden, rehash


@pytest.fixture
def device() -> Iterator[Device]:
    opened = open_device("local:")
    yield opened
    opened.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_do_not_depend_on_the_batch(device: Device, bundle: MakeBundle, backend: str) -> None:
    folder = bundle(backend)
    inputs = {"input": golden(folder, "input:input")}
    one, five = (measure.predict(device, folder, inputs, batch=batch)["logits"] for batch in (1, 5))
    expected = golden(folder, "output:logits")
    step = np.ptp(expected) / 255
    assert one.shape == five.shape == expected.shape
    # rounding ties may fall apart with another kernel: within two of range / 255 of each other, eight of the reference
    assert np.abs(one - five).max() <= 2 * step
    assert np.abs(one - expected).max() <= 8 * step


def test_verify_and_census_are_typed(device: Device, bundle: MakeBundle) -> None:
    (verdict,) = measure.verify(device, bundle("onnxruntime"))
    kernels = measure.operator_coverage(device, bundle("onnxruntime"))
    assert verdict.ok
    assert verdict.output == "logits"
    assert (kernels.int8, kernels.total) == (10, 10)


def test_a_mismatch_is_an_answer_and_not_an_error(device: Device, own_bundle: Path) -> None:
    outputs = golden(own_bundle, "output:logits")
    outputs[0, 0] = np.nan
    np.savez(own_bundle / "golden.npz", **{"input:input": golden(own_bundle, "input:input"), "output:logits": outputs})
    rehash(own_bundle)
    (verdict,) = measure.verify(device, own_bundle)
    assert not verdict.ok


def test_options_batch_and_threads_reach_the_runner(device: Device, bundle: MakeBundle) -> None:
    session = Session(device, bundle("onnxruntime"), {"optimize": "none"}, batch=3, threads=2)
    replicate = session.bench(seconds=0.01, count=5)
    assert (replicate.timing.batch, replicate.timing.threads) == (3, 2)
    assert session.operator_coverage().int8 == 0


def test_a_damaged_bundle_is_bad_input(device: Device, own_bundle: Path) -> None:
    (own_bundle / "model.onnx").write_bytes(b"")
    with pytest.raises(BadInputError, match="sha256"):
        measure.operator_coverage(device, own_bundle)


def test_a_missing_runtime_is_told_from_a_failing_one(
    device: Device, own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('hidden')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MissingRuntimeError, match="pip install onnxruntime"):
        measure.operator_coverage(device, own_bundle)


def test_a_rejected_model_is_a_device_error(device: Device, own_bundle: Path) -> None:
    (own_bundle / "model.onnx").write_bytes(b"not a model")
    rehash(own_bundle)
    with pytest.raises(DeviceError):
        measure.operator_coverage(device, own_bundle)


def test_a_runner_killed_midway_is_a_lost_device(device: Device, own_bundle: Path) -> None:
    killer = threading.Thread(target=_kill_when_running, args=(str(own_bundle),))
    killer.start()
    with pytest.raises(DeviceError, match="lost"):
        Session(device, own_bundle).bench(seconds=120)
    killer.join()


def _kill_when_running(argument: str) -> None:
    for _ in range(200):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and argument in _command(entry):
                time.sleep(0.5)  # into the measurement
                os.kill(int(entry.name), signal.SIGKILL)
                return
        time.sleep(0.05)


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def test_a_hung_runner_is_a_lost_device(own_bundle: Path, tmp_path: Path) -> None:
    device = LocalDevice("local:")
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    interpreter.chmod(0o755)
    device.python = str(interpreter)
    with pytest.raises(DeviceError, match="no answer within 1 s"):
        Session(device, own_bundle, timeout=1.0).operator_coverage()
    device.close()


def test_a_manifest_of_another_model_is_bad_input(device: Device, own_bundle: Path) -> None:
    edit_manifest(own_bundle, outputs=[])
    with pytest.raises(BadInputError, match="its manifest differs"):
        measure.operator_coverage(device, own_bundle)


END = json.dumps({"record": "end", "ok": True})


@pytest.mark.parametrize("stdout", ["", "Segmentation fault\n", END[:-5], '{"ok": true}', "[1]\n2\nnull\n"])
def test_success_without_an_end_record_is_a_lost_device(stdout: str) -> None:
    with pytest.raises(DeviceError, match=r"lost \(exit code 0\): last words"):
        parse(Finished(0, stdout, "first\nlast words\n"))


@pytest.mark.parametrize(("built", "said"), [(True, "start, is it built for this processor?"), (False, "start")])
def test_a_runner_that_a_shell_cannot_run_did_not_start(device: Device, built: bool, said: str) -> None:
    """A shell takes a program of another processor for a script."""
    program = f"{device.workspace}/program"
    Path(program).write_bytes(b"\x7fELF(")
    finished = device.run(["sh", program], timeout=10)
    with pytest.raises(DeviceError, match=rf"runner did not {re.escape(said)} \(exit code {finished.code}\): "):
        parse(finished, built)


def test_noise_between_records_is_not_read() -> None:
    kernels = json.dumps({"record": "kernels", "int8": 1, "total": 2, "how": "x", "ops": {}})
    answer = parse(Finished(0, f"Welcome to this board\n{kernels}\n* daemon started *\n{END}\n", ""))
    assert answer.end.ok
    assert len(answer.records["kernels"]) == 1


@pytest.mark.parametrize("record", ['{"record": "golden", "output": 3}', '{"record": "golden"}', ""])
def test_a_record_of_another_protocol_is_a_device_error(record: str) -> None:
    answer = parse(Finished(0, f"{record}\n{END}\n", ""))
    with pytest.raises(DeviceError):
        answer.every("golden", Golden)
