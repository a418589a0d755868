"""What the file holds is what the ONNX holds: scales, zero points, weights, biases, names, shapes, and its bytes."""

from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from tests import factories
from tests.backends.tflite.harness import build
from tests.factories import Net


def parameters(model: onnx.ModelProto) -> dict[str, tuple[Any, Any, Any]]:
    """(scale, zero point as int8, stored constant or None) of each quantised tensor, under its TFLite name."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    outer = {value.name for value in model.graph.input}
    found = {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            constant = constants.get(node.input[0])
            scale, zero_point = (constants[name] for name in node.input[1:])
            shift = 128 if zero_point.dtype == np.uint8 else 0
            if node.op_type == "QuantizeLinear":
                name = node.output[0] if node.input[0] in outer else node.input[0]
                found[name] = (scale, zero_point.astype(np.int64) - shift, None)
            elif constant is not None:
                found[node.input[0]] = (scale, zero_point.astype(np.int64), constant)
    return found


@pytest.mark.parametrize("name", sorted(factories.WHOLE_NETS))
def test_every_scale_weight_and_bias_is_bit_equal(name: str) -> None:
    model = factories.quantize(*factories.WHOLE_NETS[name](0))
    built = build(model)
    buffers = schema.ModelT.InitFromObj(schema.Model.GetRootAs(built.content)).buffers
    expected = parameters(model)
    assert len(expected) > 10
    for tensor_name, (scale, zero_point, constant) in expected.items():
        tensor = built.tensor(tensor_name)
        np.testing.assert_array_equal(np.asarray(tensor.quantization.scale, np.float32), np.atleast_1d(scale))
        np.testing.assert_array_equal(tensor.quantization.zeroPoint, np.atleast_1d(zero_point))
        if constant is not None:
            stored = np.asarray(buffers[tensor.buffer].data, np.uint8).view(constant.dtype)
            np.testing.assert_array_equal(np.sort(stored), np.sort(constant.ravel()))


def test_weights_are_ohwi_and_depthwise_weights_1hwo() -> None:
    net = Net(0, (4, 6, 6))
    y = net.conv(net.relu(net.conv("input", 4, 8)), 8, 8, group=8)
    model = net.model(y)
    weights = [c for c in model.graph.initializer if len(c.dims) == 4]
    built = build(factories.quantize(model, net.inputs(16)))
    conv, depthwise = (built.tensor(f"{weight.name}_q") for weight in weights)
    assert (list(conv.shape), conv.quantization.quantizedDimension) == ([8, 3, 3, 4], 0)
    assert (list(depthwise.shape), depthwise.quantization.quantizedDimension) == ([1, 3, 3, 8], 3)


def test_file_has_its_identifier_a_signature_and_aligned_buffers() -> None:
    content = build(factories.qdq_dscnn()).content
    assert content[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(content)
    signature = schema.ModelT.InitFromObj(model).signatureDefs[0]
    assert signature.signatureKey == b"serving_default"
    assert [entry.name for entry in (*signature.inputs, *signature.outputs)] == [b"input", b"logits"]
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if not buffer.DataIsNone():
            assert buffer._tab.Vector(buffer._tab.Offset(4)) % 16 == 0


@pytest.mark.parametrize("batch", [1, 8])
def test_batch_is_the_targets_by_default_and_open(batch: int) -> None:
    built = build(factories.qdq_resnet(), batch=batch)
    for name, sizes in (("input", [16, 16, 3]), ("logits", [10])):
        assert list(built.tensor(name).shape) == [batch, *sizes]
        assert list(built.tensor(name).shapeSignature) == [-1, *sizes]
    assert built.compiled.inputs[0].shape == (None, 16, 16, 3)
    assert built.compiled.outputs[0].shape == (None, 10)


def test_signature_runner_takes_names() -> None:
    model = factories.qdq_dscnn()
    x = factories.inputs_for(model, 1)
    runner = build(model).interpreter().get_signature_runner("serving_default")
    found = runner(input=x.transpose(0, 2, 3, 1))["logits"]
    assert found.shape == (1, 12)


@pytest.mark.parametrize("precision", ["int8", "float"])
def test_same_model_gives_the_same_bytes(precision: Any) -> None:
    make = factories.qdq_mobilenet if precision == "int8" else factories.float_mobilenet
    model = make()
    assert build(model, precision).content == build(model, precision).content


def test_int8_borders_hold_the_models_own_integers() -> None:
    """Within two steps of the integers that ONNX's output quantiser makes: the gate of the float borders."""
    model = factories.qdq_resnet()
    built = build(model, io="int8")
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(built.ops)
    (source,), (output,) = built.compiled.inputs, built.compiled.outputs
    assert (source.name, source.dtype, source.layout) == ("input", "int8", "NHWC")
    assert (output.name, output.dtype, output.scale) == ("logits", "int8", built.steps["logits"])
    x = factories.inputs_for(model, 8)
    assert source.scale is not None
    assert source.zero_point is not None
    stored = np.clip(np.rint(x / np.float32(source.scale)) + source.zero_point, -128, 127).astype(np.int8)
    found = built.run(stored)["logits"].astype(np.int32)
    expected = np.rint(factories.reference(model, x)["logits"] / np.float32(output.scale)) + output.zero_point
    assert np.abs(found - expected).max() <= 2


def test_specification_of_float_borders() -> None:
    model = factories.qdq_dscnn()
    compiled = build(model).compiled
    (source,), (output,) = compiled.inputs, compiled.outputs
    assert (source.dtype, source.layout, source.scale, source.zero_point) == ("float32", "NHWC", None, None)
    assert (output.dtype, output.layout, output.scale) == ("float32", None, None)


def test_map_output_is_nhwc_and_says_so() -> None:
    net = Net(0, (3, 6, 5))
    (output,) = build(net.model(net.conv("input", 3, 4)), "float").compiled.outputs
    assert (output.layout, output.shape) == ("NHWC", (None, 6, 5, 4))
