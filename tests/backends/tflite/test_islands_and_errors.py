"""What int8 cannot compute stays in float and is said; what TFLite cannot compute is refused, by name."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from tests import factories
from tests.backends.tflite.harness import build, steps_apart
from tests.factories import Net

STEP = 1.01
ADVICE = "replace it in the model, or choose a target of another backend"


def refusal(model: onnx.ModelProto, precision: Any = "float") -> str:
    with pytest.raises(BadInputError) as caught:
        build(model, precision)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_op_that_one_dq_does_not_feed_is_a_float_island() -> None:
    """The symmetric scheme's float biases have no int8 kernel: every conv is an island, and the result still agrees."""
    model = factories.qdq_resnet(symmetric=True)
    built = build(model)
    assert len(built.compiled.notes) >= 9
    assert "float island: node 'conv_0' (Conv): input 'constant_1' is not quantised" in built.compiled.notes
    assert steps_apart(model, factories.inputs_for(model, 8)) <= STEP


def test_op_whose_float_output_is_read_twice_is_a_float_island() -> None:
    net = Net(0, (3, 6, 6))
    y = net.conv("input", 3, 4)
    pooled = net.op("MaxPool", y, kernel_shape=[2, 2])
    model = net.model(pooled, net.op("Sigmoid", y), names=("pooled", "gated"))
    quantised = factories.quantize(model, net.inputs(32))
    sigmoid = next(node for node in quantised.graph.node if node.op_type == "Sigmoid")
    sigmoid.input[0] = y
    assert [note.split(":")[1] for note in build(quantised).compiled.notes] == [
        " node 'conv_0' (Conv)",
        " node 'sigmoid_2' (Sigmoid)",
    ]
    assert steps_apart(quantised, net.inputs(8, seed=1)) <= STEP


def test_clip_to_other_bounds_is_a_float_island() -> None:
    net = Net(0, (3, 6, 6))
    model = net.model(net.op("Clip", net.conv("input", 3, 4), net.constant(-0.5), net.constant(2.0)))
    quantised = factories.quantize(model, net.inputs(32))
    assert len(build(quantised).compiled.notes) == 2
    assert steps_apart(quantised, net.inputs(8, seed=1)) <= STEP


def test_softmax_with_a_scale_of_its_own_is_a_float_island() -> None:
    net = Net(0, (5,))
    model = factories.quantize(net.model(net.op("Softmax", "input")), net.inputs(32))
    for constant in model.graph.initializer:
        if numpy_helper.to_array(constant).ravel()[0] == np.float32(1 / 256):
            constant.CopyFrom(numpy_helper.from_array(np.asarray(1 / 200, np.float32), constant.name))
    (note,) = build(model).compiled.notes
    assert "output scale of 0.00390625" in note
    assert steps_apart(model, net.inputs(8, seed=1)) <= STEP


def test_float_output_leaves_the_last_op_in_float() -> None:
    net = Net(0, (6,))
    model = factories.quantize(net.model(net.gemm("input", 6, 3)), net.inputs(32), float_outputs=True)
    built = build(model)
    assert built.compiled.outputs[0].step is None
    x = net.inputs(8, seed=1)
    np.testing.assert_allclose(built.run(x)["logits"], factories.reference(model, x)["logits"], rtol=0, atol=1e-5)


def test_integer_borders_stay_float_where_a_float_op_reads_or_makes_them() -> None:
    net = Net(0, (6,))
    model = factories.quantize(net.model(net.gemm("input", 6, 3)), net.inputs(32), float_outputs=True)
    built = build(model, io="int8")
    assert built.compiled.inputs[0].dtype == "int8"
    assert built.compiled.outputs[0].dtype == "float32"
    assert any(note.startswith("output 'logits' stays float") for note in built.compiled.notes)


def test_pool_to_another_scale_is_rescaled_after_it() -> None:
    net = Net(0, (3, 6, 6))
    model = factories.quantize(net.model(net.op("MaxPool", "input", kernel_shape=[2, 2])), net.inputs(32))
    for constant in model.graph.initializer:
        if constant.name.startswith(("logits_q_q_scale", "logits_d_scale")):
            value = numpy_helper.to_array(constant) * np.float32(1.25)
            constant.CopyFrom(numpy_helper.from_array(value, constant.name))
    built = build(model)
    assert built.ops == ["QUANTIZE", "MAX_POOL_2D", "QUANTIZE", "DEQUANTIZE"]
    assert steps_apart(model, net.inputs(8, seed=1), "reference") <= STEP


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"clip": 3.0}, "clip"),
        ({"input_forget": 1}, "input_forget"),
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, "other activations"),
    ],
)
def test_a_recurrent_layer_without_a_plain_form_is_refused(options: dict[str, Any], reason: str) -> None:
    net = Net(0, (5, 6))
    steps = net.op("Transpose", "input", perm=[1, 0, 2])
    weights = [net.constant(net.rng.normal(0, 0.5, (1, 16, size))) for size in (6, 4)]
    made = net.op("LSTM", steps, *weights, hidden_size=4, **options)
    model = net.model(net.op("Squeeze", made, net.constant([1], np.int64)))
    assert refusal(model) == f"node 'lstm_1' (LSTM): {reason} is not written out step by step: export without it"


def test_more_steps_than_are_unrolled_are_refused() -> None:
    net = Net(0, (600, 3))
    steps = net.op("Transpose", "input", perm=[1, 0, 2])
    weights = [net.constant(net.rng.normal(0, 0.5, (1, 4, size))) for size in (3, 4)]
    made = net.op("RNN", steps, *weights, hidden_size=4)
    model = net.model(net.op("ReduceSum", made, net.constant([0, 1], np.int64), keepdims=0))
    assert refusal(model) == "node 'rnn_1' (RNN): 600 steps are more than the 512 that are unrolled"


def test_unknown_op_is_refused_by_node_and_op() -> None:
    net = Net(0, (3, 6, 6))
    model = net.model(net.op("Hardmax", net.conv("input", 3, 4)))
    assert refusal(model) == f"node 'hardmax_1' (Hardmax): this op has no TFLite form: {ADVICE}"


def test_an_einsum_of_a_diagonal_is_refused() -> None:
    net = Net(0, (3, 4, 4))
    model = net.model(net.op("Einsum", "input", equation="bcii->bci"))
    assert refusal(model) == f"node 'einsum_0' (Einsum): this op has no TFLite form: {ADVICE}"


@pytest.mark.parametrize(
    ("op", "attributes", "reason"),
    [
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, "dilations"),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1], "ceil_mode": 1}, "disagree"),
        ("AveragePool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, "dilations"),
    ],
)
def test_attribute_that_tflite_lacks_is_named(op: str, attributes: dict[str, Any], reason: str) -> None:
    net = Net(0, (3, 6, 6))
    message = refusal(net.model(net.op(op, "input", **attributes)))
    assert message.startswith(f"node '{op.lower()}_0' ({op}): ")
    assert reason in message


def test_scaled_gemm_is_refused() -> None:
    net = Net(0, (6,))
    weight = net.constant(net.rng.normal(0, 1, (6, 3)))
    assert "alpha=2" in refusal(net.model(net.op("Gemm", "input", weight, alpha=2.0)))


def test_3d_convolutions_in_groups_are_refused() -> None:
    net = Net(0, (4, 4, 4, 4))
    weight = net.constant(net.rng.normal(0, 1, (4, 1, 3, 3, 3)))
    assert "neither groups" in refusal(net.model(net.op("Conv", "input", weight, kernel_shape=[3] * 3, group=4)))


def test_precision_must_match_the_model() -> None:
    assert "without Q/DQ" in refusal(factories.qdq_dscnn(), "float")
    assert "with Q/DQ" in refusal(factories.float_dscnn(), "int8")


def test_invalid_graph_is_refused_in_one_line() -> None:
    model = factories.float_dscnn()
    model.graph.node[0].input[0] = "nowhere"
    assert "not a valid ONNX model" in refusal(model)


def test_old_opset_is_refused() -> None:
    model = factories.float_dscnn()
    model.opset_import[0].version = 9
    assert "opset 9" in refusal(model)


def test_op_of_another_domain_is_refused_by_node_and_op() -> None:
    net = Net(0, (3, 6, 6))
    model = net.model(net.op("Erf", net.conv("input", 3, 4)))
    node = model.graph.node[1]
    node.op_type, node.domain = "QuickGelu", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert refusal(model) == f"node 'erf_1' (com.microsoft.QuickGelu): this op has no TFLite form: {ADVICE}"


def test_second_output_is_refused() -> None:
    net = Net(0, (3, 6, 6))
    net.nodes.append(helper.make_node("MaxPool", ["input"], ["pooled", "places"], name="pool", kernel_shape=[2, 2]))
    model = net.model("pooled", net.op("Cast", "places", to=TensorProto.FLOAT), names=("a", "b"))
    assert refusal(model) == "node 'pool' (MaxPool): only its first output has a TFLite form"


def test_dynamic_size_of_a_map_is_refused() -> None:
    model = factories.float_dscnn()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    assert "only the batch may be dynamic" in refusal(model)
