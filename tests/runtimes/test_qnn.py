"""Qualcomm's HTP in the vendor's emulator: each operation of its scheme by itself, and networks that need rewriting."""

import json
import re
from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.backends.assemble import write_bundle
from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.backends.placement import Placement
from edgekd.backends.reference import Reference, output_steps
from edgekd.devices import open_device
from edgekd.measure import predict
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.graph_ir import FIXED
from edgekd.quantization.scheme import find_scheme
from edgekd.reading import read_json
from edgekd.target import load_target
from tests.factories import Net
from tests.small_run import edgekd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("onnxruntime_qnn") is None, reason="pip install 'edgekd[qnn]'"),
]
UNARY = ("Abs", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Neg", "Sigmoid", "Softplus", "Tanh")
POSITIVE = ("Log", "Reciprocal", "Sqrt")
BINARY = ("Add", "Div", "Max", "Min", "Mul", "Sub")
REDUCED = ("ReduceMax", "ReduceMean", "ReduceSum")
Made = Callable[[Net, str], str]


def above_zero(net: Net, x: str) -> str:
    return net.op("Add", net.op("Abs", x), net.constant(0.5))


def cases(kinds: Collection[str]) -> dict[str, Made]:
    """An operation of each kind that a scheme has in integers, on values of both signs or above zero."""
    found: dict[str, Made] = {kind: lambda net, x, kind=kind: net.op(kind, x) for kind in UNARY}  # type: ignore[misc]
    found |= {kind: lambda net, x, kind=kind: net.op(kind, above_zero(net, x)) for kind in POSITIVE}  # type: ignore[misc]
    found |= {kind: lambda net, x, kind=kind: net.op(kind, x, above_zero(net, x)) for kind in BINARY}  # type: ignore[misc]
    found |= {
        f"{kind} with a constant": lambda net, x, kind=kind: net.op(kind, x, net.constant(np.linspace(0.5, 2, 8)))  # type: ignore[misc]
        for kind in BINARY
    }
    found |= {
        kind: lambda net, x, kind=kind: net.op(kind, x, net.constant([2], np.int64), keepdims=1)  # type: ignore[misc]
        for kind in REDUCED
    }
    found |= {kind: lambda net, x, kind=kind: net.op(kind, x, axis=-1) for kind in ("Softmax", "LogSoftmax")}  # type: ignore[misc]
    gain = np.linspace(0.5, 2, 8)
    found |= {
        "LayerNormalization": lambda net, x: net.op(
            "LayerNormalization", x, net.constant(gain), net.constant(gain - 1), axis=-1
        ),
        "LayerNormalization without a bias": lambda net, x: net.op(
            "LayerNormalization", x, net.constant(gain), axis=-1
        ),
        "MatMul": lambda net, x: net.op("MatMul", x, net.op("Transpose", x, perm=[0, 2, 1])),
        "Clamp": lambda net, x: net.op("Clip", x, net.constant(-1.0), net.constant(1.0)),
        "PRelu": lambda net, x: net.op("PRelu", x, net.constant(np.linspace(0.1, 0.4, 8))),
    }
    return {name: build for name, build in found.items() if name.partition(" ")[0] in kinds | FIXED}


@pytest.mark.parametrize("target", ["snapdragon-8-gen3", "rb3-gen2"])
@pytest.mark.parametrize("scheme", ["htp-w8a8", "htp-w8a16"])
def test_each_operation_is_within_a_step_in_integers(target: str, scheme: str, tmp_path: Path) -> None:
    """All in one graph, for a compilation costs more than they. One step of eight bits is one rounding."""
    net = Net(0, (6, 8))
    made = {name: build(net, "input") for name, build in cases(find_scheme(scheme).integers).items()}
    x = np.random.default_rng(1).normal(0, 2, (8, 6, 8)).astype(np.float32)
    names = tuple(name.replace(" ", "_") for name in made)
    model = calibrate(net.model(*made.values(), names=names), find_scheme(scheme), [{"input": x}])
    outputs = Reference(model).run({"input": x})
    bundle = tmp_path / "bundle"
    manifest = write_bundle(
        model, load_target(target), bundle, "int8", name="ops", inputs={"input": x}, outputs=outputs
    )
    placement = Placement.parse(read_json(bundle / "placement.json"), "placement")
    assert [str(op) for op in placement.ops if op.precision != "integer"] == []
    device = open_device("local:")
    answers = predict(device, bundle, {"input": to_bundle(manifest.inputs[0], x)}, 1)
    device.close()
    steps = output_steps(model)
    far = {
        spec.name: float(np.abs(from_bundle(spec, answers[spec.name]) - outputs[spec.name]).max() / steps[spec.name])
        for spec in manifest.outputs
    }
    assert {name: each for name, each in far.items() if each > 1.001} == {}


@pytest.mark.parametrize("target", ["snapdragon-8-gen3", "rb3-gen2"])
def test_sixteen_bits_are_proven_where_eight_are_far_from_float(target: str, tmp_path: Path) -> None:
    """One channel dwarfs the others, which alone the next layer reads: eight bits hold nothing of them."""
    net = Net(0, (3, 6, 6))
    weight = net.rng.normal(0, 0.4, (8, 3, 1, 1))
    weight[:, 0] = 0
    wide = net.op("Mul", "input", net.constant(np.reshape([80, 1, 1], (3, 1, 1))))
    body = net.conv(net.relu(net.op("Conv", wide, net.constant(weight))), 8, 8)
    onnx.save(net.model(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", body)), 8, 6)), tmp_path / "net.onnx")
    np.savez(tmp_path / "samples.npz", input=net.inputs(32))
    done = edgekd("export", tmp_path / "net.onnx", "--target", target, "--calibration", tmp_path / "samples.npz",
                  "--out", tmp_path, "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["db_from_float"] > 40) == ("ok", True)
    assert re.search(r"int8 is \d+\.\d dB from float .*\(htp-w8a16\) give .*, and are used", found["notes"][0])
    placement = Placement.parse(read_json(Path(found["bundle"]) / "placement.json"), "placement")
    assert {op.precision for op in placement.ops} == {"integer"}
