"""Every rule, by one mutation of a clean graph each: exactly that rule must speak, and name the node."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from edgekd.backends.tensorrt.compile import compile as compile_tensorrt
from edgekd.backends.tensorrt.lint import lint
from edgekd.errors import BadInputError
from edgekd.quantization import qat
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import find_scheme
from edgekd.students import transformer
from edgekd.target import load_target
from tests import factories


@pytest.fixture(scope="module")
def original() -> onnx.ModelProto:
    return factories.qdq_resnet(symmetric=True)


@pytest.fixture
def clean(original: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(original)
    return copy


def node(model: onnx.ModelProto, kind: str, index: int = 0) -> onnx.NodeProto:
    return [entry for entry in model.graph.node if entry.op_type == kind][index]


def maker(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    return next(entry for entry in model.graph.node if tensor in entry.output)


def value(model: onnx.ModelProto, name: str) -> np.ndarray[Any, Any]:
    return numpy_helper.to_array(next(entry for entry in model.graph.initializer if entry.name == name))


def put(model: onnx.ModelProto, name: str, new: Any) -> None:
    kept = [entry for entry in model.graph.initializer if entry.name != name]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, numpy_helper.from_array(np.asarray(new), name)])


def weight_quantizer(model: onnx.ModelProto, layer: onnx.NodeProto) -> onnx.NodeProto:
    return maker(model, layer.input[1])


def bypass(model: onnx.ModelProto, reader: onnx.NodeProto, position: int) -> None:
    """Wire a reader to what its Q/DQ pair reads."""
    dequantize = maker(model, reader.input[position])
    reader.input[position] = maker(model, dequantize.input[0]).input[0]


def activation_as(dtype: Any) -> Callable[[onnx.ModelProto], str]:
    def mutate(model: onnx.ModelProto) -> str:
        quantize = node(model, "QuantizeLinear")
        put(model, quantize.input[2], dtype(0))
        return quantize.name

    return mutate


def no_zero_point(model: onnx.ModelProto) -> str:
    quantize = node(model, "QuantizeLinear")
    quantize.input.pop()
    return quantize.name


def asymmetric_zero_point(model: onnx.ModelProto) -> str:
    quantize = node(model, "QuantizeLinear")
    put(model, quantize.input[2], np.int8(3))
    return quantize.name


def zero_scale(model: onnx.ModelProto) -> str:
    quantize = node(model, "QuantizeLinear")
    put(model, quantize.input[1], np.float32(0))
    return quantize.name


def negative_weight_scale(model: onnx.ModelProto) -> str:
    quantizer = weight_quantizer(model, node(model, "Conv"))
    scale = value(model, quantizer.input[1]).copy()
    scale[1] *= -1
    put(model, quantizer.input[1], scale)
    return quantizer.name


def nan_scale(model: onnx.ModelProto) -> str:
    quantize = node(model, "QuantizeLinear")
    put(model, quantize.input[1], np.float32(np.nan))
    return quantize.name


def activation_per_channel(model: onnx.ModelProto) -> str:
    quantize = node(model, "QuantizeLinear")
    put(model, quantize.input[1], np.full(3, 0.02, np.float32))
    put(model, quantize.input[2], np.zeros(3, np.int8))
    return quantize.name


def conv_weight_axis(model: onnx.ModelProto) -> str:
    quantizer = weight_quantizer(model, node(model, "Conv"))
    quantizer.attribute[0].i = 1
    return quantizer.name


def gemm_weight_axis(model: onnx.ModelProto) -> str:
    quantizer = weight_quantizer(model, node(model, "Gemm"))
    quantizer.attribute[0].i = 1
    return quantizer.name


def gemm_weight_axis_untransposed(model: onnx.ModelProto) -> str:
    gemm = node(model, "Gemm")
    del gemm.attribute[:]
    return weight_quantizer(model, gemm).name


def matmul_weight_axis(model: onnx.ModelProto) -> str:
    gemm = node(model, "Gemm")
    gemm.op_type = "MatMul"
    del gemm.attribute[:]
    gemm.input.pop()
    return weight_quantizer(model, gemm).name


def blockwise_weight(model: onnx.ModelProto) -> str:
    quantizer = weight_quantizer(model, node(model, "Gemm"))
    put(model, quantizer.input[1], np.full((10, 2), 0.01, np.float32))
    put(model, quantizer.input[2], np.zeros((10, 2), np.int8))
    return quantizer.name


def conv_transpose(model: onnx.ModelProto) -> str:
    conv = node(model, "Conv")
    conv.op_type = "ConvTranspose"
    return conv.name


def int32_bias(model: onnx.ModelProto) -> str:
    conv = node(model, "Conv")
    bias = conv.input[2]
    put(model, f"{bias}_i", np.ones(8, np.int32))
    put(model, f"{bias}_s", np.full(8, 1e-3, np.float32))
    put(model, f"{bias}_z", np.zeros(8, np.int32))
    inputs = [f"{bias}_i", f"{bias}_s", f"{bias}_z"]
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [f"{bias}_f"], name="bias", axis=0))
    conv.input[2] = f"{bias}_f"
    return "bias"


def weight_as(dtype: Any) -> Callable[[onnx.ModelProto], str]:
    def mutate(model: onnx.ModelProto) -> str:
        quantizer = weight_quantizer(model, node(model, "Conv"))
        for name in (quantizer.input[0], quantizer.input[2]):
            put(model, name, np.abs(value(model, name)).astype(dtype))
        return quantizer.name

    return mutate


def qoperator(kind: str) -> Callable[[onnx.ModelProto], str]:
    def mutate(model: onnx.ModelProto) -> str:
        pool = node(model, "GlobalAveragePool")
        pool.op_type = kind
        return pool.name

    return mutate


def half_conv_float_bias(model: onnx.ModelProto) -> str:
    conv = node(model, "Conv")
    quantizer = weight_quantizer(model, conv)
    put(model, quantizer.input[1], value(model, quantizer.input[1]).astype(np.float16))
    return conv.name


def conv_input_bare(model: onnx.ModelProto) -> str:
    conv = node(model, "Conv", 1)
    bypass(model, conv, 0)
    return conv.name


def gemm_input_bare(model: onnx.ModelProto) -> str:
    gemm = node(model, "Gemm")
    bypass(model, gemm, 0)
    producer = maker(model, gemm.input[0])  # a Flatten passes its own input's quantiser on: break that one too
    if producer.op_type == "Flatten":
        bypass(model, producer, 0)
    return gemm.name


def identity_skip_bare(model: onnx.ModelProto) -> str:
    add = node(model, "Add", 0)
    bypass(model, add, 1)
    return add.name


def projection_skip_bare(model: onnx.ModelProto) -> str:
    add = node(model, "Add", 1)
    position = next(i for i, name in enumerate(add.input) if maker(model, name).op_type == "DequantizeLinear")
    bypass(model, add, position)
    return add.name


def int8_without_dequantize(model: onnx.ModelProto) -> str:
    conv = node(model, "Conv")
    conv.input[1] = weight_quantizer(model, conv).input[0]
    return conv.name


FATAL = [
    ("activation-dtype", activation_as(np.uint8)),
    ("activation-dtype", activation_as(np.int16)),
    ("zero-point-missing", no_zero_point),
    ("zero-point-nonzero", asymmetric_zero_point),
    ("scale-positive", zero_scale),
    ("scale-positive", negative_weight_scale),
    ("scale-positive", nan_scale),
    ("activation-per-channel", activation_per_channel),
    ("weight-axis", conv_weight_axis),
    ("weight-axis", gemm_weight_axis),
    ("weight-axis", gemm_weight_axis_untransposed),
    ("weight-axis", matmul_weight_axis),
    ("weight-axis", blockwise_weight),
    ("int32-bias", int32_bias),
    ("weight-dtype", weight_as(np.uint8)),
    ("weight-dtype", weight_as(np.int16)),
    ("weight-dtype", weight_as(np.uint16)),
    ("qoperator", qoperator("QLinearGlobalAveragePool")),
    ("qoperator", qoperator("QLinearConv")),
    ("qoperator", qoperator("ConvInteger")),
    ("qoperator", qoperator("DynamicQuantizeLinear")),
    ("bias-precision", half_conv_float_bias),
    ("input-unquantized", conv_input_bare),
    ("input-unquantized", gemm_input_bare),
    ("skip-unquantized", identity_skip_bare),
    ("skip-unquantized", projection_skip_bare),
    ("int8-constant", int8_without_dequantize),
]


@pytest.mark.parametrize("build", factories.WHOLE_NETS.values(), ids=factories.WHOLE_NETS)
def test_symmetric_nets_have_no_fatal_finding(build: Callable[..., Any]) -> None:
    findings = lint(factories.quantize(*build(0), symmetric=True))
    assert not [finding for finding in findings if finding.fatal]


def test_clean_graph_has_no_finding_at_all(clean: onnx.ModelProto) -> None:
    assert lint(clean) == []


@pytest.mark.parametrize(("rule", "mutate"), FATAL, ids=[f"{rule}-{index}" for index, (rule, _) in enumerate(FATAL)])
def test_fatal_rule(clean: onnx.ModelProto, rule: str, mutate: Callable[[onnx.ModelProto], str], tmp_path: Any) -> None:
    name = mutate(clean)
    hits = [finding for finding in lint(clean) if finding.rule == rule]
    assert [finding.node for finding in hits if finding.fatal][:1] == [name]
    with pytest.raises(BadInputError, match=rf"{rule} at .*{name}"):
        compile_tensorrt(clean, load_target("jetson-orin-nano"), tmp_path, "int8")
    assert list(tmp_path.iterdir()) == []


def test_conv_transpose_is_a_note(clean: onnx.ModelProto) -> None:
    name = conv_transpose(clean)
    assert [(f.node, f.fatal) for f in lint(clean) if f.rule == "conv-transpose"] == [(name, False)]


def test_a_layer_left_in_float_is_a_note(clean: onnx.ModelProto, tmp_path: Any) -> None:
    conv = node(clean, "Conv", 1)
    bypass(clean, conv, 0)
    put(clean, "bare", np.ones((8, 8, 3, 3), np.float32))
    conv.input[1] = "bare"
    compiled = compile_tensorrt(clean, load_target("jetson-orin-nano"), tmp_path, "int8")
    assert compiled.notes == (f"{conv.name}: Conv is not quantised: it runs in float",)


def test_a_layer_kept_in_float_among_int8_ones_is_a_note(clean: onnx.ModelProto, tmp_path: Any) -> None:
    """As `keep_float` leaves it: its input comes quantised to whoever reads it, its weight is stored in float."""
    conv = node(clean, "Conv", 1)
    put(clean, "bare", np.ones((8, 8, 3, 3), np.float32))
    conv.input[1] = "bare"
    compiled = compile_tensorrt(clean, load_target("jetson-orin-nano"), tmp_path, "int8")
    assert compiled.notes == (f"{conv.name}: Conv is not quantised: it runs in float",)


def test_both_summands_quantised_is_a_note(clean: onnx.ModelProto) -> None:
    add = node(clean, "Add")
    add.input[0] = add.input[1]
    assert [(f.rule, f.fatal) for f in lint(clean)] == [("add-both-quantized", False)]


def test_float_weights_with_a_quantizer_are_a_note(clean: onnx.ModelProto) -> None:
    quantizer = weight_quantizer(clean, node(clean, "Conv"))
    put(clean, "float_weight", np.ones((8, 3, 3, 3), np.float32))
    inputs = ["float_weight", quantizer.input[1], quantizer.input[2]]
    clean.graph.node.insert(0, helper.make_node("QuantizeLinear", inputs, ["stored"], name="fold_me", axis=0))
    quantizer.input[0] = "stored"
    assert [(f.rule, f.node, f.fatal) for f in lint(clean)] == [("weight-stored-float", "fold_me", False)]


def test_quantizer_before_relu_is_a_note(clean: onnx.ModelProto) -> None:
    relu = node(clean, "Relu")
    source = relu.input[0]
    put(clean, "early_s", np.float32(0.1))
    put(clean, "early_z", np.int8(0))
    position = list(clean.graph.node).index(relu)
    pair = [("QuantizeLinear", source, "early_q"), ("DequantizeLinear", "early_q", "early")]
    for offset, (kind, x, y) in enumerate(pair):
        clean.graph.node.insert(position + offset, helper.make_node(kind, [x, "early_s", "early_z"], [y], name=y))
    node(clean, "Relu").input[0] = "early"
    assert [(f.rule, f.node, f.fatal) for f in lint(clean)] == [("quantizer-before-activation", "early", False)]


def test_message_is_one_line_and_counts_what_it_does_not_name(tmp_path: Any) -> None:
    asymmetric = factories.qdq_resnet()
    with pytest.raises(BadInputError) as caught:
        compile_tensorrt(asymmetric, load_target("jetson-orin-nano"), tmp_path, "int8")
    assert "\n" not in str(caught.value)
    assert " more (" in str(caught.value)


def test_float_graph_is_copied_without_lint(tmp_path: Any) -> None:
    compiled = compile_tensorrt(factories.float_resnet(), load_target("jetson-orin-nano"), tmp_path, "float")
    assert compiled.notes == ()
    assert compiled.files == ("model.onnx",)


def test_a_bias_behind_a_product_does_not_hide_the_layer_that_an_add_fuses_with() -> None:
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(size=(6, 6)).astype(np.float32), "b": rng.normal(size=6).astype(np.float32)}
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["biased"]),
        helper.make_node("Add", ["biased", "input"], ["y"]),
    ]
    net = factories.build_model(nodes, constants, (4, 6), ("y",), {})
    x = rng.normal(size=(8, 4, 6)).astype(np.float32)
    quantised = calibrate(net, find_scheme("int8-symmetric"), [{"input": x}])
    assert not [finding for finding in lint(quantised) if finding.fatal]


def test_attention_and_residual_sums_are_float_on_purpose() -> None:
    """A transformer's products of two activations have one quantised operand at most, its sums none that counts."""
    tokens = np.random.default_rng(0).integers(1, 50, (4, 8))
    plain = qat.export_float(transformer.build(3, vocabulary=50, positions=8).eval(), torch.from_numpy(tokens))
    findings = lint(calibrate(plain, find_scheme("int8-symmetric"), [{"input": tokens}]))
    assert {finding.rule for finding in findings} == {"float-layer"}
    assert not any(finding.fatal for finding in findings)
