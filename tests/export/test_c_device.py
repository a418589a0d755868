"""A device that names a runner of its own: verified, timed and examined by it, with no Python there."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError, DeviceError, MissingRuntimeError
from edgekd.files import sha256
from edgekd.measure import Session
from edgekd.measure.readiness import examine
from edgekd.measure.results import read_rows
from edgekd.target import load_target
from tests.export.c_runner import LIBRARIES
from tests.measure.bundles import MakeBundle, golden
from tests.small_run import edgekd


@pytest.fixture
def uri(program: Path) -> str:
    return f"local:?runner={program.parent}"


@pytest.fixture
def device(uri: str) -> Iterator[Device]:
    with closing(open_device(uri)) as opened:
        opened.python = "/no/python"
        yield opened


def test_verify_finds_what_run_py_finds(uri: str, bundle: MakeBundle, tmp_path: Path) -> None:
    """Accuracy and operator_coverage equal; distances within one step: two versions of XNNPACK."""
    folder, data = bundle("tflite"), tmp_path / "data.npz"
    x = np.random.default_rng(0).normal(size=(40, 3, 16, 16)).astype(np.float32)
    np.savez(data, x=x, y=np.arange(40) % 10)
    here, there = (
        json.loads(edgekd("verify", folder, "--data", data, "--json", "--device", one).stdout)
        for one in ("local:", uri)
    )
    assert there["ok"]
    assert (there["device"], there["samples"], there["kernels"]) == (uri, 40, here["kernels"])
    assert abs(there["golden"][0]["max_steps"] - here["golden"][0]["max_steps"]) <= 1 + 1e-3


def test_bench_names_the_program_that_measured(uri: str, program: Path, bundle: MakeBundle, tmp_path: Path) -> None:
    out, quick = tmp_path / "results.jsonl", ("--replicates=2", "--seconds=0.02", "--count=5")
    done = edgekd("bench", bundle("tflite"), "--device", uri, *quick, "--batch=2", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    (row,) = read_rows(out)
    assert (row.runner, row.runtime, row.batch) == (sha256(program), "LiteRT C", 2)
    assert (row.machine.python, row.machine.missing["python"]) == (None, "its runner needs none")
    assert row.latency is not None
    assert row.latency.warm_load_ms is not None


def test_sessions_need_no_python_there(device: Device, bundle: MakeBundle) -> None:
    session = Session(device, bundle("tflite"), {"delegate": "none"}, batch=3, threads=1)
    assert session.operator_coverage().int8 == 10
    assert all(verdict.ok for verdict in session.verify())
    outputs = session.predict({"input": golden(bundle("tflite"), "input:input")})
    assert outputs["logits"].shape == golden(bundle("tflite"), "output:logits").shape
    with pytest.raises(BadInputError, match="this runner is for tflite bundles"):
        Session(device, bundle("onnxruntime")).operator_coverage()


def test_doctor_asks_the_runner_and_not_for_python(device: Device) -> None:
    found = examine(device, load_target("x86-tflite"))
    assert found["ready"]
    (row,) = found["components"]
    assert (row["component"], row["found"]) == ("tflite", "LiteRT C 2.17.1")
    assert not examine(device, load_target("x86-onnxruntime"))["ready"]


def test_a_runner_without_its_library_says_how_to_get_it(program: Path, tmp_path: Path, bundle: MakeBundle) -> None:
    shutil.copy(program, tmp_path)
    with closing(open_device(f"local:?runner={tmp_path}")) as device:
        (row,) = examine(device)["components"]
        assert (row["found"], row["get it"].split(":")[0]) == ("missing", "no TensorFlow Lite C library")
        with pytest.raises(MissingRuntimeError, match="put libtensorflowlite_c.so beside"):
            Session(device, bundle("tflite")).operator_coverage()
        assert Session(device, bundle("tflite"), {"library": str(LIBRARIES["x86_64"])}).operator_coverage().int8 == 10


def test_a_device_without_python_is_told_of_the_way_without() -> None:
    with closing(open_device("local:?python=/no/python")) as device:
        assert "?runner=FOLDER" in examine(device)["components"][0]["get it"]


@pytest.mark.parametrize(
    "query", ["runner=", "runner=/nowhere", "runner=a&runner=b", "shell=sh", "runner", "python=-c"]
)
def test_a_runner_that_is_none_is_bad_input(query: str) -> None:
    with pytest.raises(BadInputError, match="device 'local:"):
        open_device(f"local:?{query}")


def test_a_program_of_another_machine_is_told(tmp_path: Path, bundle: MakeBundle) -> None:
    (tmp_path / "edgekd-runner").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "edgekd-runner").chmod(0o755)
    told = r"did not start, is it built for this processor\? .*Exec format error"
    with closing(open_device(f"local:?runner={tmp_path}")) as device, pytest.raises(DeviceError, match=told):
        Session(device, bundle("tflite")).operator_coverage()
