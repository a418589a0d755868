"""Which int8 ops a quantised net becomes, what stays float between them and why, and that its numbers are right."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd.errors import BadInputError
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.clean import clean
from edgekd.quantization.scheme import find_scheme
from tests import factories
from tests.backends.tflite.harness import build, distance
from tests.backends.tflite.test_forms import LAYOUTS, MAP, MERGED, POOLS, conv
from tests.factories import Net

NETS = {name: case[:2] for name, case in (LAYOUTS | MERGED).items()}
NETS |= {
    f"pool: {name}": ((3, 5, 6), lambda net, case=case: net.op(case[0], "input", **case[1]))
    for name, case in POOLS.items()
}
ISLAND = "float island: node "
INT8: dict[str, tuple[str, tuple[str, ...]]] = {
    "layers in a row": ("CONV_2D CONV_2D", ()),
    "flattened places": ("CONV_2D TRANSPOSE RESHAPE FULLY_CONNECTED", ()),
    "one flattened place": ("CONV_2D REDUCE_MAX RESHAPE FULLY_CONNECTED", ()),
    "two readers in ONNX's order": ("CONV_2D TRANSPOSE TRANSPOSE SOFTMAX TRANSPOSE TILE QUANTIZE CONCATENATION", ()),
    "turned to channels last": ("CONV_2D", ()),
    "turned on its side": ("CONV_2D TRANSPOSE CONV_2D", ()),
    "there and back": ("CONV_2D DEQUANTIZE ABS QUANTIZE CONV_2D", ("'abs_2' (Abs): TFLite has no int8 Abs",)),
    "places as rows": ("CONV_2D RESHAPE FULLY_CONNECTED", ()),
    "a vector beside maps": ("CONV_2D MEAN RESHAPE TRANSPOSE ADD", ()),
    "a mean over (2,)": ("CONV_2D TRANSPOSE MEAN", ()),
    "a mean over (1, 3)": ("CONV_2D MEAN", ()),
    "a softmax over 1": ("CONV_2D SOFTMAX", ()),
    "joined along 1": ("CONV_2D RELU QUANTIZE CONCATENATION", ()),
    "a constant of (3, 1, 1) behind": ("CONV_2D ADD", ()),
    "a constant of (4, 1) before": ("SUB", ()),
    "a bias": ("FULLY_CONNECTED ADD", ()),
    "an expansion that is the output": (
        "MEAN DEQUANTIZE ADD QUANTIZE", ("'expand_1' (Expand): TFLite has no int8 Expand",)
    ),
    "a ReLU6": ("CONV_2D", ()),
    "a ReLU beside another reader": ("CONV_2D RELU QUANTIZE CONCATENATION", ()),
    "two activations": ("CONV_2D RELU", ()),
    "a ReLU of the input": ("RELU", ()),
    "a layer for each channel": ("DEPTHWISE_CONV_2D", ()),
    "parts": ("STRIDED_SLICE STRIDED_SLICE CONCATENATION", ()),
    "the largest of one": ("DEQUANTIZE ABS QUANTIZE", ("'abs_1' (Abs): TFLite has no int8 Abs",)),
    "pool: same": ("MAX_POOL_2D", ()),
    "pool: padded": ("PADV2 MAX_POOL_2D", ()),
    "pool: mean": ("DEPTHWISE_CONV_2D", ()),
    "pool: mean, padding counted": ("DEPTHWISE_CONV_2D", ()),
    "pool: mean, padding left out": (
        "DEQUANTIZE PAD AVERAGE_POOL_2D MUL QUANTIZE",
        ("'averagepool_0' (AveragePool): its windows differ in size where they leave out the padding",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INT8)
def test_between_quantisers_ops_are_int8_or_named(name: str) -> None:
    (shape, net_of), (ops, notes) = NETS[name], INT8[name]
    net = Net(0, shape)
    model = factories.quantize(net.model(net_of(net)), net.inputs(64))
    built, x = build(model), net.inputs(5, seed=1)
    assert " ".join(built.ops) == f"QUANTIZE {ops} DEQUANTIZE"
    assert built.compiled.notes == tuple(ISLAND + note for note in notes)
    assert distance(built, factories.reference(model, x), x, "reference") <= 1.01
    inner = build(model, io="int8")
    assert (inner.ops[0], inner.ops[-1]) != ("QUANTIZE", "DEQUANTIZE")
    assert {each.dtype for each in (*inner.compiled.inputs, *inner.compiled.outputs)} == {"int8"}


def quantised_conv(float_outputs: bool = False, outputs: int = 3) -> tuple[Net, onnx.ModelProto]:
    net = Net(0, MAP)
    return net, factories.quantize(net.model(conv(net, outputs=outputs)), net.inputs(64), float_outputs=float_outputs)


def constant(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def changed(model: onnx.ModelProto, name: str, value: np.ndarray) -> onnx.ModelProto:
    constant(model, name).CopyFrom(numpy_helper.from_array(value, name))
    return model


def first(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def test_borders_are_integer_only_where_a_quantiser_stands_there() -> None:
    _, model = quantised_conv(float_outputs=True)
    assert (
        "output 'logits' stays float: no quantiser makes it, or a float op reads it"
        in build(model, io="int8").compiled.notes
    )
    net = Net(0, MAP)
    both = factories.quantize(net.model(net.op("Add", conv(net), "input")), net.inputs(64))
    assert build(both, io="int8").compiled.notes == ()
    add = first(both, "Add")
    add.input[1] = "input"
    notes = build(both, io="int8").compiled.notes
    assert "input 'input' stays float: a float op reads it" in notes


def test_signed_and_unsigned_activations_are_stored_alike() -> None:
    net, model = quantised_conv()
    built, x = build(model), net.inputs(5, seed=1)
    point = first(model, "QuantizeLinear").input[2]
    assert numpy_helper.to_array(constant(model, point)).dtype == np.uint8
    for name in {node.input[2] for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}:
        value = numpy_helper.to_array(constant(model, name))
        if value.dtype == np.uint8:
            changed(model, name, (value.astype(np.int64) - 128).astype(np.int8))
    signed = build(model)
    np.testing.assert_array_equal(signed.run(x)["logits"], built.run(x)["logits"])


def test_a_quantiser_of_another_type_or_with_other_numbers_behind_it_is_refused() -> None:
    _, model = quantised_conv()
    reader = next(
        n
        for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] == first(model, "QuantizeLinear").output[0]
    )
    changed(model, reader.input[1], numpy_helper.to_array(constant(model, reader.input[1])) * np.float32(2))
    with pytest.raises(BadInputError, match="its scale and zero point differ from those of its QuantizeLinear"):
        build(model)


def test_twins_of_a_quantiser_are_one() -> None:
    net, model = quantised_conv()
    plain = build(model)
    quantize = first(model, "QuantizeLinear")
    twin, reader = onnx.NodeProto(), onnx.NodeProto()
    twin.CopyFrom(quantize)
    twin.name, twin.output[0] = "twin", "twin_q"
    back = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == quantize.output[0])
    reader.CopyFrom(back)
    reader.name, reader.input[0], reader.output[0] = "twin_dq", "twin_q", "twin_d"
    position = list(model.graph.node).index(back)
    model.graph.node.insert(position + 1, reader)
    model.graph.node.insert(position + 1, twin)
    first(model, "Conv").input[0] = "twin_d"
    assert build(model).ops == plain.ops
    x = net.inputs(5, seed=1)
    np.testing.assert_array_equal(build(model).run(x)["logits"], plain.run(x)["logits"])


def test_a_bias_that_int32_does_not_hold_is_added_in_float() -> None:
    """What is nothing in calibration has steps so small that the bias is more of them than int32 counts."""
    net, random = Net(0, (5, 6)), np.random.default_rng(0)
    nothing = net.op("Sub", "input", "input")
    product = net.op("MatMul", nothing, net.constant(random.normal(size=(6, 4)), np.float32))
    biased = net.op("Add", product, net.constant([100, 200, 300, -400], np.float32))
    last = net.op("MatMul", biased, net.constant(random.normal(size=(4, 4)), np.float32))
    model = calibrate(clean(net.model(last)), find_scheme("int8-asymmetric"), [{"input": net.inputs(16)}])
    built, x = build(model), net.inputs(5, seed=1)
    assert built.ops.count("FULLY_CONNECTED") == 2
    assert distance(built, factories.reference(model, x), x, "reference") <= 1.01
