"""The command that gets a runtime, by what kind of Python asks for it; which wheels there are was looked up on PyPI."""

import json
import subprocess
import sys
from typing import Any

import pytest

from edgekd.measure.device_python import INVENTORY, Python, how_to_get, how_to_get_numpy, is_jetson, probes
from edgekd.measure.facts import Machine
from edgekd.runtimes import find_needs


def machine(python: str = "3.11.2", **more: Any) -> Machine:
    facts = {"cpu": "board", "arch": "aarch64", "cores": 4, "flags": (), "memory_mb": 8000, "kernel": "6.6"}
    state = dict.fromkeys(("governor", "frequency_mhz", "max_frequency_mhz"))
    return Machine.model_validate({**facts, **state, "python": python, **more})


def python(version: str = "3.11.2", **more: Any) -> Python:
    inventory = {"modules": {}, "bits": 64, "home": "/home/pi", "managed": False, **more}
    return Python.of("python3", machine(version), json.dumps(inventory))


@pytest.mark.parametrize(
    ("version", "bits", "command"),
    [
        ("3.11.2", 64, "python3 -m pip install ai-edge-litert"),
        ("3.8.10", 64, "python3 -m pip install tflite-runtime 'numpy<2'"),  # JetPack 5
        ("3.11.2", 32, "python3 -m pip install tflite-runtime 'numpy<2'"),  # armv7, or a 64-bit kernel's 32-bit system
        ("3.13.5", 32, "no wheel for a 32-bit Python 3.13: take one from 3.8 to 3.11 (?python=), or none (?runner=)"),
    ],
)
def test_tflite_has_the_wheel_that_there_is(version: str, bits: int, command: str) -> None:
    assert how_to_get(find_needs("tflite"), python(version, bits=bits), machine(version)) == command


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_without_a_wheel_another_way_is_named(backend: str) -> None:
    assert "a target with TFLite" in how_to_get(find_needs(backend), python(bits=32), machine())
    assert how_to_get(find_needs(backend), python(), machine()) == f"python3 -m pip install {backend}"
    assert how_to_get_numpy(python(bits=32)) == "sudo apt-get install python3-numpy"


@pytest.mark.parametrize(
    ("provider", "command"),
    [
        ("cpu", "python3 -m pip install onnxruntime"),
        ("cuda", "python3 -m pip install onnxruntime-gpu"),
        ("tensorrt", "python3 -m pip install onnxruntime-gpu"),
        ("openvino", "python3 -m pip install onnxruntime-openvino (without onnxruntime beside it)"),
        ("coreml", "python3 -m pip install onnxruntime (on macOS)"),
        ("xnnpack", "no wheel has it: build ONNX Runtime with --use_xnnpack"),
    ],
)
def test_a_provider_comes_with_a_build_of_its_own(provider: str, command: str) -> None:
    needs = find_needs("onnxruntime", {"provider": provider})
    assert how_to_get(needs, python(), machine()) == command
    assert "a target with TFLite" in how_to_get(needs, python(bits=32), machine())


def test_a_runtime_without_the_provider_is_not_what_is_needed() -> None:
    needs = find_needs("onnxruntime", {"provider": "cuda"})
    plain = {"onnxruntime": "1.24.0", "onnxruntime:get_available_providers": "CPUExecutionProvider"}
    whole = plain | {"onnxruntime:get_available_providers": "CUDAExecutionProvider CPUExecutionProvider"}
    assert probes([needs]) == ["numpy", *plain]
    assert (needs.found({}), needs.found(plain)) == (None, None)
    assert needs.found(whole) == "onnxruntime 1.24.0, CUDAExecutionProvider"


def test_a_jetson_has_tensorrt_from_jetpack() -> None:
    assert how_to_get(find_needs("tensorrt"), python(), machine(kernel="5.15.148-tegra")).startswith(
        "sudo apt-get install python3-libnvinfer"
    )
    assert how_to_get(find_needs("tensorrt"), python(), machine()).endswith("python3 -m pip install tensorrt")


def test_pip_of_a_system_that_refuses_it_is_that_of_a_folder() -> None:
    assert python(managed=True).pip == "/home/pi/edgekd/bin/python -m pip"


def test_a_python_that_said_nothing_is_none() -> None:
    absent = Python.of("python3", machine(), "")
    assert (absent.modules, find_needs("tflite").found(absent.modules)) == ({}, None)
    assert (absent.bits, absent.managed, absent.pip, absent.venv) == (64, False, "python3 -m pip", "~/edgekd")


@pytest.mark.parametrize(
    ("version", "enough"),
    [("3.7.17", False), ("3.8.0", True), ("4.0", True), ("2.9", False), ("", False)],
)
def test_the_runner_needs_python_3_8(version: str, enough: bool) -> None:
    assert python(version).new_enough is enough
    assert len(python(version).version) == (2 if version else 0)


def test_a_part_of_a_package_that_is_not_there_hides_nothing_else() -> None:
    """As a plug-in's backend may need it."""
    argv = [sys.executable, "-c", INVENTORY, "nowhere.part", "json", "json:nothing"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert Python.of("python3", machine(), said).modules == {"json": "found", "json:nothing": "found"}


def test_of_what_a_python_prints_the_last_line_counts() -> None:
    found = Python.of("python3", machine(), '{"bits": 32}\n{"modules": {"numpy": "2.0"}, "bits": 64}\n')
    assert (found.modules, found.bits) == ({"numpy": "2.0"}, 64)


@pytest.mark.parametrize(
    ("facts", "jetson"),
    [
        ({"kernel": "5.15.148-tegra"}, True),
        ({"cpu": "NVIDIA Jetson Orin Nano"}, True),
        ({"kernel": "6.6-tegra-not"}, False),
        ({}, False),
    ],
)
def test_a_jetson_is_told_by_its_kernel_or_its_name(facts: dict[str, str], jetson: bool) -> None:
    assert is_jetson(machine(**facts)) is jetson
