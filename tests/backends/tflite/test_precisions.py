"""float16 and dynamic range: what is stored, and how far from ONNX Runtime the results may be."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd.backends.assemble import write_bundle
from edgekd.backends.compiled import Precision
from edgekd.errors import BadInputError
from edgekd.target import Target
from tests import factories
from tests.backends.tflite.harness import Array, Model, build
from tests.backends.tflite.op_cases import embedding
from tests.factories import Net


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every constant rounded to float16."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in copy.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.size > 1:
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16).astype(np.float32), tensor.name))
    return copy


def sqnr(found: Array, expected: Array) -> float:
    return float(10 * np.log10(np.square(expected).mean() / np.square(found - expected).mean()))


def delegates(built: Model) -> int:
    interpreter = built.interpreter()
    interpreter.allocate_tensors()
    return [op["op_name"] for op in interpreter._get_ops_details()].count("DELEGATE")


@pytest.mark.parametrize("name", sorted(factories.WHOLE_NETS))
def test_float16_is_the_float_model_with_rounded_constants(name: str) -> None:
    """1e-5: widened before use, they are float32 numbers, and only the order of sums differs."""
    model = factories.WHOLE_NETS[name](0)[0]
    x = factories.inputs_for(model, 8)
    built, expected = build(model, "float16"), factories.reference(halved(model), x)["logits"]
    np.testing.assert_allclose(built.run(x)["logits"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert delegates(built) == 1
    assert len(built.content) < len(build(model, "float").content)


def test_float16_keeps_what_half_a_float_cannot_hold() -> None:
    net = Net(0, (6,))
    y = net.op("Add", "input", net.constant([1e5, 1, 2, 3, 4, 5]))
    model = net.model(net.op("Add", y, net.constant(1e-9)))
    built = build(model, "float16")
    assert "DEQUANTIZE" not in built.ops


@pytest.mark.parametrize(("kind", "inputs"), [("FULLY_CONNECTED", (64,)), ("CONV_2D", (8, 6, 6))])
def test_dynamic_range_layer(kind: str, inputs: tuple[int, ...]) -> None:
    """Weights per output in int8, the input in 8 bits per sample.

    Half a step of each input, times the sum of a row's weights, is the most that the input's rounding may add.
    """
    net = Net(0, inputs)
    y = net.gemm("input", 64, 32) if kind == "FULLY_CONNECTED" else net.conv("input", 8, 32, kernel=3)
    model = net.model(y)
    built, x = build(model, "dynamic-range"), net.inputs(5, seed=1)
    assert built.ops == [kind]
    weight = next(t for t in built.graph.tensors if t.type == 9)
    assert len(weight.quantization.scale) == 32
    original = next(numpy_helper.to_array(c) for c in model.graph.initializer if len(c.dims) > 1)
    rows = np.abs(original).reshape(32, -1)
    step = np.ptp(np.append(x.reshape(5, -1), np.zeros((5, 1)), axis=1), axis=1)[:, None] / 255
    allowed = rows.sum(1) * step + rows.max(1) / 254 * np.abs(x).max() * rows.shape[1]
    difference = np.abs(built.run(x)["logits"] - factories.reference(model, x)["logits"])
    assert (difference.reshape(5, 32, -1).max(2) <= allowed).all()


@pytest.mark.parametrize("name", sorted(factories.WHOLE_NETS))
def test_dynamic_range_net(name: str) -> None:
    """25 dB: eight bits for each layer's weights and inputs."""
    model = factories.WHOLE_NETS[name](0, width=32)[0]
    x = factories.inputs_for(model, 8)
    built = build(model, "dynamic-range")
    assert sqnr(built.run(x)["logits"], factories.reference(model, x)["logits"]) >= 25
    assert len(built.content) < len(build(model, "float").content)


def test_dynamic_range_table_has_a_scale_per_row() -> None:
    """Half a step of a row's own scale: rows differ by a thousand here."""
    net = embedding(0)[0]
    table = net.rng.normal(0, 1, (3, 512)) * [[1], [1000], [0.001]]
    net.constants["constant_1"] = table.astype(np.float32)
    model, x = net.model(net.nodes[-1].output[0]), net.inputs(8)
    built, expected = build(model, "dynamic-range"), factories.reference(model, x)["logits"]
    assert "GATHER" in built.ops
    assert len(built.content) < table.size * 3
    bound = np.abs(expected).max(axis=-1, keepdims=True) / 254
    assert (np.abs(built.run(x)["logits"] - expected) <= 1.01 * bound).all()


def test_precision_must_match_the_model() -> None:
    for precision in ("float16", "dynamic-range"):
        with pytest.raises(BadInputError, match="without Q/DQ"):
            build(factories.qdq_dscnn(), precision)


def test_backend_without_a_precision_refuses_it(tmp_path: Path) -> None:
    target = Target(name="test", title="test", backend="onnxruntime", scheme="int8-asymmetric")
    precision: Precision = "float16"
    with pytest.raises(BadInputError, match="no precision float16: choose int8 or float"):
        write_bundle(factories.float_dscnn(), target, tmp_path / "b", precision, name="net", inputs={}, outputs={})
