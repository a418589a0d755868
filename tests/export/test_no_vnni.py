"""x86 without VNNI, whose instruction saturates: weights to ±63 never let it; of others, no runtime computes so.

ONNX Runtime is asked for an exact sum, OpenVINO for float, and the user is told what brings int8 back.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import numpy_helper

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import SCHEMES
from edgekd.runner.machine import saturates
from edgekd.target import load_target
from tests import factories
from tests.export.runner import run, runner_of

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


def unfit(arch: str = "x86_64", flags: set[str] = AVX2, **changes: str) -> bool:
    return saturates({"precision": "int8", "scheme": "int8-asymmetric"} | changes, arch, flags)


def test_where_cpu_and_scheme_do_not_fit() -> None:
    assert unfit()
    assert unfit(flags={*AVX2, "avx512f", "avx512bw"})  # AVX-512 alone saturates too


@pytest.mark.parametrize(
    "fits",
    [
        {"flags": {*AVX2, "avx512_vnni"}},
        {"flags": {*AVX2, "avx_vnni"}},
        {"flags": set()},  # unknown: nothing is claimed
        {"arch": "aarch64"},
        {"scheme": "int8-asymmetric-w7"},
        {"precision": "float"},
    ],
)
def test_where_they_do(fits: dict[str, str]) -> None:
    assert not unfit(**fits)


def bright(folder: Path, backend: str) -> Path:
    """Two layers whose products of neighbours exceed int16 by far: large weights of one sign, inputs at their top."""
    net = factories.Net(0, (32,))
    x = "input"
    for _ in range(2):
        x = net.op("MatMul", x, net.constant(net.rng.uniform(0.9, 1, (32, 32))))
    inputs = {"input": np.linspace(0, 1, 256, dtype=np.float32).reshape(8, 32)}
    model = factories.quantize(net.model(x), inputs["input"])
    outputs, target = Reference(model).run(inputs), load_target(f"x86-{backend}")
    write_bundle(model, target, folder, "int8", name="bright", inputs=inputs, outputs=outputs)
    return folder


OLD_CPU = """
import importlib.util, sys
specification = importlib.util.spec_from_file_location("runner", sys.argv[1])
runner = importlib.util.module_from_spec(specification)
specification.loader.exec_module(runner)
runner.cpu_flags = lambda: {"avx2"}
"""
# As where a weight serves two layers.
REFUSES = """
session = runner.import_first(["onnxruntime"], "").InferenceSession
create = session.__init__

def refuses(self, model, options, *others, **named):
    if options.get_session_config_entry("session.x64quantprecision") == "1":
        raise RuntimeError("Attempt to replace the existing tensor")
    create(self, model, options, *others, **named)

session.__init__ = refuses
"""


def on_an_old_cpu(verb: str, bundle: Path, before: str = "") -> list[dict[str, Any]]:
    backend = json.loads((bundle / "manifest.json").read_text())["backend"]
    code = f"{OLD_CPU}{before}sys.exit(runner.main(sys.argv[2:], {backend!r}, runner.RUNTIME))"
    finished = subprocess.run([sys.executable, "-c", code, runner_of(bundle), verb, bundle], capture_output=True)
    records = [json.loads(line) for line in finished.stdout.splitlines()]
    assert finished.returncode == 0, (records, finished.stderr)
    return records


def only(records: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (row for row in records if row["record"] == kind)
    return found


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86 only")
@pytest.mark.parametrize(("backend", "before"), [("openvino", ""), ("onnxruntime", REFUSES)])
def test_it_is_computed_in_float_and_told(backend: str, before: str, tmp_path: Path) -> None:
    bundle, advice = bright(tmp_path / "bundle", backend), f"for int8 here, export for x86-{backend}-no-vnni"
    records = on_an_old_cpu("verify", bundle, before)
    assert advice in only(records, "warning")["text"]
    assert only(records, "golden")["max_steps"] <= 1  # a rounding in float at a step's edge
    kernels = only(on_an_old_cpu("build", bundle, before), "kernels")
    assert (kernels["int8"], kernels["total"]) == (0, 2)
    assert advice in kernels["warning"]


def test_onnxruntime_computes_exactly_in_int8(tmp_path: Path) -> None:
    """On a CPU without VNNI, too, since its runner asks for it; on others nothing could go wrong."""
    bundle = bright(tmp_path / "bundle", "onnxruntime")
    code, records = run("verify", bundle)
    assert code == 0, records
    assert only(records, "golden")["max_steps"] <= 1  # as above; what saturates is 128 off
    kernels = only(run("build", bundle)[1], "kernels")
    assert (kernels["int8"], kernels["total"]) == (2, 2)
    assert "warning" not in kernels
