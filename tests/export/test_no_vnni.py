"""x86 without VNNI: its instruction saturates, scheme `int8-asymmetric-w7` never lets it, and the runner warns."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import numpy_helper

from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import SCHEMES
from edgekd.runner.machine import unfit_cpu
from edgekd.runtimes import find_runtime
from edgekd.target import load_target
from tests import factories
from tests.export.runner import runner_of

AVX2 = {"sse4_2", "avx", "avx2", "fma"}
PAIRS = 8


def maddubs(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """VPMADDUBSW: products of u8 and s8, neighbours summed and saturated in int16."""
    products = activations.astype(np.int32) * weights.astype(np.int32)
    return np.clip(products[..., ::2] + products[..., 1::2], -(2**15), 2**15 - 1)


def exact(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    products = activations.astype(np.int64) * weights.astype(np.int64)
    return products[..., ::2] + products[..., 1::2]


@given(
    arrays.arrays(np.uint8, 2 * PAIRS),
    arrays.arrays(np.int8, 2 * PAIRS, elements=st.integers(-63, 63)),
)
def test_no_pair_of_seven_bit_weights_saturates(activations: np.ndarray, weights: np.ndarray) -> None:
    assert (maddubs(activations, weights) == exact(activations, weights)).all()


def stored_weights(scheme: str) -> list[np.ndarray]:
    model, inputs = factories.resnet(0)
    quantized = calibrate(model, SCHEMES[scheme], [{"input": inputs}])
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    return [value.reshape(len(value), -1) for value in stored.values() if value.dtype == np.int8 and value.ndim > 1]


def worst_pairs(channels: np.ndarray) -> np.ndarray:
    """Each channel's two largest and two smallest weights side by side, in whatever order a kernel packs them."""
    ordered = np.sort(channels, axis=1)
    return np.concatenate([ordered[:, :2], ordered[:, -2:]], axis=1)


@pytest.mark.parametrize(("scheme", "safe"), [("int8-asymmetric-w7", True), ("int8-asymmetric", False)])
def test_the_graph_of_the_scheme_is_safe_and_the_other_is_not(scheme: str, safe: bool) -> None:
    found = [worst_pairs(weights) for weights in stored_weights(scheme)]
    assert len(found) == 10
    brightest = [np.full(pairs.shape, 255, np.uint8) for pairs in found]
    right = [(maddubs(x, w) == exact(x, w)).all() for x, w in zip(brightest, found, strict=True)]
    assert all(right) if safe else not any(right)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_there_is_a_target_for_it(backend: str) -> None:
    target = load_target(f"x86-{backend}-no-vnni")
    assert (target.backend, target.scheme) == (backend, "int8-asymmetric-w7")


def warning(arch: str = "x86_64", flags: set[str] = AVX2, **changes: str) -> str | None:
    manifest = {"backend": "onnxruntime", "precision": "int8", "scheme": "int8-asymmetric"}
    manifest |= changes
    return unfit_cpu(find_runtime(manifest["backend"]).SATURATES, manifest, arch, flags)


OLD_CPU = """
import importlib.util, sys
specification = importlib.util.spec_from_file_location("runner", sys.argv[1])
runner = importlib.util.module_from_spec(specification)
specification.loader.exec_module(runner)
runner.cpu_flags = lambda: {"avx2"}
sys.exit(runner.main(sys.argv[2:], "onnxruntime", runner.RUNTIME))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 only")
@pytest.mark.parametrize(("verb", "record", "key"), [("verify", "warning", "text"), ("build", "kernels", "warning")])
def test_the_warning_is_among_the_records(own_bundle: Path, verb: str, record: str, key: str) -> None:
    argv = [sys.executable, "-c", OLD_CPU, str(runner_of(own_bundle)), verb, str(own_bundle)]
    finished = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    records = [json.loads(line) for line in finished.stdout.splitlines()]
    assert finished.returncode == 0
    assert "no VNNI" in next(entry for entry in records if entry["record"] == record)[key]


def test_the_runner_warns_where_cpu_and_scheme_do_not_fit() -> None:
    assert "export for x86-onnxruntime-no-vnni" in (warning() or "")
    assert "export for x86-openvino-no-vnni" in (warning(backend="openvino") or "")
    assert warning(flags={*AVX2, "avx512f", "avx512bw"})  # AVX-512 alone saturates too


@pytest.mark.parametrize(
    "fits",
    [
        {"flags": {*AVX2, "avx512_vnni"}},
        {"flags": {*AVX2, "avx_vnni"}},
        {"flags": set()},  # unknown: nothing is claimed
        {"arch": "aarch64"},
        {"scheme": "int8-asymmetric-w7"},
        {"backend": "tflite"},  # XNNPACK widens before it multiplies
        {"precision": "float"},
    ],
)
def test_it_does_not_warn_otherwise(fits: dict[str, str]) -> None:
    assert warning(**fits) is None
