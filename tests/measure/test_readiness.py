"""What a device lacks, found on this machine and on one that has next to nothing."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgekd.backends.onnxruntime import needs
from edgekd.cli import app
from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError
from edgekd.measure.readiness import examine
from edgekd.needs import Way
from edgekd.runner_source import runner_source
from edgekd.runtimes import backend_names, find_needs
from edgekd.target import Target, load_target


@pytest.fixture
def device() -> Iterator[Device]:
    with closing(open_device("local:")) as opened:
        yield opened


def by(key: str, rows: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {row[key]: row for row in rows}


def test_this_machine_is_ready_for_what_is_installed_here(device: Device) -> None:
    found = examine(device, load_target("x86-onnxruntime"))
    components = by("component", found["components"])
    assert found["ready"]
    assert list(components) == ["python", "numpy", "onnxruntime"]
    assert components["onnxruntime"]["found"].startswith("onnxruntime 1.")
    assert found["prepare"] == list(load_target("x86-onnxruntime").prepare)
    assert {"governor", "load"} <= set(by("what", found["state"]))


def test_a_runtime_and_a_feature_that_are_missing_are_named(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(needs.NEEDS, modules=("no_such_runtime",), ways=(Way("{pip} install no-such-runtime"),))
    monkeypatch.setattr(needs, "NEEDS", absent)
    facts = {"isa": ["sve2", "avx2|asimd"]}
    target = {"name": "other", "title": "", "backend": "onnxruntime", "scheme": "int8-asymmetric", "facts": facts}
    found = examine(device, Target.parse(target, "here"))
    assert not found["ready"]
    assert by("component", found["components"])["onnxruntime"] == {
        "component": "onnxruntime", "for": "onnxruntime bundles", "found": "missing",
        "get it": f"{device.python} -m pip install no-such-runtime",
    }  # fmt: skip
    assert by("what", found["state"])["CPU"]["found"] == "lacks sve2"


def test_a_provider_that_the_runtime_lacks_is_missing_with_the_package_that_has_it(device: Device) -> None:
    """The plain wheel of ONNX Runtime, which is here, knows no CUDA."""
    target = load_target("x86-onnxruntime").model_copy(update={"runtime": {"provider": "cuda"}})
    found = examine(device, target)
    assert not found["ready"]
    assert by("component", found["components"])["onnxruntime"] == {
        "component": "onnxruntime", "for": "onnxruntime bundles, CUDAExecutionProvider", "found": "missing",
        "get it": f"{device.python} -m pip install onnxruntime-gpu",
    }  # fmt: skip


def test_a_device_without_python_is_not_ready_and_told_how_to_name_one(device: Device) -> None:
    device.python = "/no/python"
    found = examine(device)
    assert not found["ready"]
    assert [row["found"] for row in found["components"]] == ["missing"] * (2 + len(backend_names()))
    assert "?python=PATH" in found["components"][0]["get it"]


def test_a_python_without_numpy_is_not_enough(tmp_path: Path, device: Device) -> None:
    device.python = str(tmp_path / "python")
    Path(device.python).write_text(f'#!/bin/sh\nexec {shutil.which("python3", path="/usr/bin")} -I "$@"\n')
    Path(device.python).chmod(0o755)
    has = subprocess.run([device.python, "-c", "import numpy"], capture_output=True).returncode == 0
    components = by("component", examine(device)["components"])
    assert components["python"]["found"] != "missing"
    assert (components["numpy"]["found"] != "missing") is has


@pytest.mark.parametrize("backend", backend_names())
def test_runtimes_are_got_as_the_runner_says(backend: str) -> None:
    needed, runner = find_needs(backend), runner_source(backend)
    assert all(module in runner for module in needed.modules)
    command = needed.ways[0].told.partition("{pip} install ")[2]
    assert (f"pip install {command}" if command else "it comes with JetPack") in runner


def test_power_modes_and_thermal_states_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Device
) -> None:
    for name, line in (("nvpmodel", "NV Power Mode: MAXN"), ("dumpsys", "Thermal Status: 0")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{line}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    state = by("what", examine(device)["state"])
    assert (state["power mode"]["found"], state["power mode"]["advice"]) == ("MAXN", "")
    assert (state["thermal status"]["found"], state["thermal status"]["advice"]) == ("0", "")
    (tmp_path / "nvpmodel").write_text("#!/bin/sh\necho 'NV Power Mode: 15W'\n")
    (tmp_path / "dumpsys").write_text("#!/bin/sh\necho 'Thermal Status: 3'\n")
    state = by("what", examine(device, load_target("jetson-orin-nano"))["state"])
    assert state["power mode"]["advice"] == "MAXN SUPER is faster: sudo nvpmodel -m 0"
    assert state["thermal status"]["advice"] == "it holds back already: let it cool"


def test_an_npu_or_a_gpu_is_part_of_what_its_target_needs(device: Device) -> None:
    found = examine(device, load_target("intel-npu"))
    row = by("component", found["components"])["NPU"]
    there = Path("/dev/accel/accel0").exists()
    assert (row["found"] != "missing") is there
    assert there or (not found["ready"] and "intel/linux-npu-driver" in row["get it"])


@pytest.mark.parametrize(
    ("line", "found", "advice"),
    [
        ("0, 0, 210, 2520, 35, 20.00, 0x0000000000000001", "210 of 2520 MHz, 35 °C", ""),
        ("0, 5, 210, 2520, 35, 20.00, 0x0000000000000001", "210 of 2520 MHz, 35 °C", ""),  # a desktop's own share
        (
            "0, 90, 2100, 2520, 88, 450.00, 0x0000000000000020", "2100 of 2520 MHz, 88 °C",
            "it holds back already: heat; something else computes on it",
        ),
    ],
)  # fmt: skip
def test_a_gpu_that_is_hot_or_taken_is_no_fair_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Device, line: str, found: str, advice: str
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{line}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    row = by("what", examine(device)["state"])["GPU"]
    assert (row["found"], row["advice"]) == (found, advice)


def test_tensorrt_needs_a_gpu_that_its_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: Device
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for answer, expected in (
        ("NVIDIA GeForce RTX 4090, 580.95.05", "NVIDIA GeForce RTX 4090"),
        ("NVIDIA-SMI has failed because it could not talk, or so, to the driver.", "missing"),
    ):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{answer}'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        row = by("component", examine(device, load_target("rtx-4090"))["components"])["GPU"]
        assert row["found"] == expected


@pytest.mark.skipif(
    not list(Path("/usr/lib").glob("python3*/EXTERNALLY-MANAGED")), reason="pip may do all it likes here"
)
def test_where_pip_may_not_install_a_folder_of_its_own_is_named(device: Device) -> None:
    """Debian's Python, and Raspberry Pi OS's, refuse `pip install` (PEP 668)."""
    device.python = "/usr/bin/python3"
    components = by("component", examine(device, load_target("raspberry-pi-5"))["components"])
    folder = Path.home() / "edgekd"
    assert (
        components["venv"]["get it"] == f"/usr/bin/python3 -m venv {folder}, then name it: ?python={folder}/bin/python"
    )
    assert components["tflite"]["get it"] == f"{folder}/bin/python -m pip install ai-edge-litert"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--target", "x86-onnxruntime"], 0),
        (["--device", "ssh://no-such-board.invalid"], 3),
        (["--device", "nowhere:"], 2),
        (["--target", "jetson-thor"], 1),  # no CI has TensorRT's full package
    ],
)
def test_exit_codes(words: list[str], code: int) -> None:
    result = CliRunner().invoke(app, ["doctor", *words, "--json"])
    assert result.exit_code == code, result.output
    if code in (0, 1):
        found: dict[str, Any] = json.loads(result.stdout)
        assert found["ready"] is (code == 0)


def test_an_unknown_target_is_bad_input_before_anybody_is_called() -> None:
    from edgekd.measure.readiness import examine_device

    with pytest.raises(BadInputError, match="unknown target"):
        examine_device("ssh://no-such-board.invalid", "no-such-target")
