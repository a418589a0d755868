"""Sessions on this machine: what the host believes, and what it does not."""

import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgekd import measure
from edgekd.devices import Device, Finished, open_device
from edgekd.devices.local import LocalDevice
from edgekd.errors import BadInputError, DeviceError, MissingRuntimeError
from edgekd.measure import Session
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


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_check_is_what_its_commands_say_by_one_process(device: Device, bundle: MakeBundle, backend: str) -> None:
    folder, asked, run = bundle(backend), list[Sequence[str]](), device.run
    inputs, session = {"input": golden(folder, "input:input")}, Session(device, folder)

    def counted(argv: Sequence[str], timeout: float) -> Finished:
        asked.append(argv)
        return run(argv, timeout)

    device.run = counted  # type: ignore[method-assign]
    checked = session.check(inputs, (5, 1))
    assert len(asked) == 1
    assert (checked.golden, checked.kernels) == (session.verify(), session.operator_coverage())
    for batch in (1, 5):
        alone = measure.predict(device, folder, inputs, batch=batch)["logits"]
        np.testing.assert_array_equal(checked.outputs(batch)["logits"], alone)


def test_a_check_without_inputs_sends_none(device: Device, bundle: MakeBundle) -> None:
    sent, push = list[str](), device.push
    device.push = lambda path: (sent.append(path.suffix), push(path))[1]  # type: ignore[method-assign,func-returns-value]
    assert measure.check(device, bundle("onnxruntime")).golden[0].ok
    assert ".npz" not in sent


def test_what_cannot_be_done_ends_a_check(device: Device, own_bundle: Path) -> None:
    edit_manifest(own_bundle, outputs=[])
    with pytest.raises(BadInputError, match="its manifest differs"):
        measure.check(device, own_bundle)


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
    finished = device.run(["sh", program], timeout=60)
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


@pytest.mark.parametrize(
    ("end", "error", "message"),
    [
        ({"ok": False, "kind": "bad-input", "error": "no such file"}, BadInputError, "no such file"),
        ({"ok": False, "kind": "missing-runtime", "error": "none here"}, MissingRuntimeError, "none here"),
        ({"ok": False, "kind": "mismatch", "error": "differs"}, DeviceError, "differs"),
        ({"ok": False, "error": "broke"}, DeviceError, "broke"),
        ({"ok": False}, DeviceError, "the runner failed without a reason"),
    ],
)
def test_a_failure_is_what_the_runner_says_it_is(
    own_bundle: Path, end: dict[str, object], error: type[Exception], message: str
) -> None:
    answering, _ = says({"record": "kernels", "int8": 1, "total": 1, "how": "", "ops": {}}, {"record": "end", **end})
    with pytest.raises(error, match=message) as caught:
        Session(answering, own_bundle).operator_coverage()
    assert type(caught.value) is error


def says(*records: dict[str, object], runner: Path | None = None) -> tuple[Device, list[tuple[list[str], float]]]:
    """This machine, whose runner gives the same records whatever it is asked, and what it was asked, for how long."""
    device, asked = open_device("local:"), list[tuple[list[str], float]]()

    def run(argv: list[str], timeout: float = 60) -> Finished:
        asked.append((argv, timeout))
        return Finished(126 if not records else 0, "".join(f"{json.dumps(record)}\n" for record in records), "")

    device.run, device.runner = run, runner  # type: ignore[method-assign]
    return device, asked


KERNELS = {"record": "kernels", "int8": 1, "total": 2, "how": "", "ops": {}}
GOOD = {"record": "end", "ok": True}


def test_what_a_session_overrides_reaches_the_command_line(own_bundle: Path) -> None:
    device, asked = says(KERNELS, GOOD)
    options = {"optimize": True, "level": 3, "how": "fast"}
    Session(device, own_bundle, options, batch=3, threads=2, affinity="4-7", timeout=9.0).operator_coverage()
    ((argv, timeout),) = asked
    assert argv[0] == device.python
    assert argv[2] == "build"
    assert argv[4:] == [
        *("--batch=3", "--threads=2", "--affinity=4-7"),
        *("--option=optimize=true", "--option=level=3", "--option=how=fast"),
    ]
    assert timeout == 9.0


def test_a_measurement_is_waited_for_as_long_as_it_may_take(own_bundle: Path) -> None:
    timing = {"first_ms": 1.0, "samples_ms": [1.0], "cpu_ms_min": 1.0, "load_average": None, "peak_rss_mb": None}
    batch = json.loads((own_bundle / "manifest.json").read_text())["batch"]
    latency = {"record": "latency", **timing, "batch": batch, "threads": 1}
    start = {"pid": 1, "format": 1, "bundle": "b", "backend": "b", "precision": "int8", "runtime": "r"}
    records = {"record": "start", **start, "runtime_version": "1", "python": None, "machine": {}}, latency
    device, asked = says(*records, {"record": "load", "ms": 1.0}, GOOD)
    Session(device, own_bundle, timeout=9.0).bench(seconds=2.0, count=5)
    Session(device, own_bundle, timeout=9.0).bench(scenario="offline")
    (first, patience), (second, longer) = asked
    assert first[4:] == ["--seconds=2.0", "--count=5"]
    assert second[4:] == ["--seconds=1.0", "--count=50", "--scenario", "offline"]
    assert (patience, longer) == (9 + 20 + 5, 9 + 10 + 50)
    with pytest.raises(DeviceError, match=f"timed batch {batch}, where {batch + 1} was asked for"):
        Session(device, own_bundle, batch=batch + 1).bench()


def test_a_device_with_a_runner_of_its_own_is_measured_by_that(own_bundle: Path, tmp_path: Path) -> None:
    program = tmp_path / "tools" / "runner"
    program.parent.mkdir()
    program.write_bytes(b"program")
    device, asked = says(KERNELS, GOOD, runner=program)
    session = Session(device, own_bundle)
    session.operator_coverage()
    assert asked[0][0][:2] == [f"{device.push(program.parent)}/runner", "build"]
    assert session.runner_sha256 == hashlib.sha256(b"program").hexdigest()
    asked.clear()
    with pytest.raises(DeviceError, match="'golden' record"):
        session.check()
    assert [argv[1] for argv, _ in asked] == ["verify", "build"]
    silent, _ = says(runner=program)
    with pytest.raises(DeviceError, match="did not start, is it built for this processor"):
        Session(silent, own_bundle).operator_coverage()
    silent, _ = says()
    with pytest.raises(DeviceError, match=r"did not start \(exit code 126\)$"):
        Session(silent, own_bundle).operator_coverage()
