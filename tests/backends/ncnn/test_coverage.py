"""What runs in int8 is counted, what does not although the graph asks is told, what cannot run is refused at once."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.backends.alternatives import require_taken
from edgekd.errors import BadInputError
from tests import factories
from tests.backends.ncnn.harness import TARGET, build, network
from tests.factories import Net


def kernels(model: onnx.ModelProto, folder: Path) -> tuple[int, int]:
    counted = build(model).loaded(folder, 1).operator_coverage()
    return counted["int8"], counted["total"]


@pytest.mark.parametrize("name", factories.WHOLE_NETS)
def test_every_layer_of_the_usual_networks_is_int8(name: str, tmp_path: Path) -> None:
    model = network(name)
    layers = sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node)
    assert kernels(model, tmp_path) == (layers, layers)


def test_what_was_to_make_int8_and_did_not_is_not_counted(tmp_path: Path) -> None:
    """As of a build of ncnn without int8: here the lines say of float layers that they were."""
    plain, quantised = build(factories.float_resnet(), "float"), build(network("resnet"))
    counted = quantised.loaded(tmp_path, 1).operator_coverage()
    assert (counted["int8"], counted["total"]) == (10, 10)
    runtime = plain.loaded(tmp_path, 1)
    claimed = [layer._replace(parameters={**layer.parameters, 8: "102"}) for layer in runtime.layers]
    runtime.layers = [
        claim if layer.kind == "Convolution" else layer for layer, claim in zip(runtime.layers, claimed, strict=True)
    ]
    assert runtime.operator_coverage()["int8"] == 0


def test_a_float_network_has_no_layer_in_int8(tmp_path: Path) -> None:
    counted = build(factories.float_dscnn(), "float").loaded(tmp_path, 1).operator_coverage()
    assert (counted["int8"], counted["total"]) == (0, 6)


def test_a_group_of_several_channels_computes_in_float_and_is_told(tmp_path: Path) -> None:
    """ncnn has one weight scale for a whole group: the graph's would be lost."""
    net = Net(0, (4, 6, 6))
    y = net.conv(net.relu(net.conv("input", 4, 8, group=2)), 8, 4, kernel=1)
    model = factories.quantize(net.model(y), net.inputs(64), symmetric=True)
    built, x = build(model), net.inputs(8, seed=1)
    (note,) = built.compiled.notes
    assert note == "layer 'conv_0' (Conv) computes in float: ncnn has one weight scale for a whole group"
    assert kernels(model, tmp_path) == (1, 2)
    truth = factories.reference(model, x)["logits"]
    assert np.abs(built.run(x)["logits"] - truth).max() <= 1.01 * np.abs(truth).max() / 127


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("axis", "ncnn has a weight scale for each output"),
        ("zero point", "ncnn's weights are int8 within ±127, without a zero point"),
        ("-128", "ncnn's weights are int8 within ±127, without a zero point"),
    ],
)
def test_weights_that_ncnn_cannot_hold_are_float_and_told(change: str, reason: str) -> None:
    """Scales along the inputs of a square matrix would fit, and be wrong without a word."""
    net = Net(0, (6,))
    model = factories.quantize(net.model(net.gemm("input", 6, 6)), net.inputs(64), symmetric=True)
    node = next(node for node in model.graph.node if node.output[0] == "constant_0_dq")
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    if change == "axis":
        node.attribute[0].i = 1
    else:
        tensor = held[node.input[2 if change == "zero point" else 0]]
        value = onnx.numpy_helper.to_array(tensor).copy()
        value.ravel()[0] = 3 if change == "zero point" else -128
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    built, x = build(model), net.inputs(8, seed=1)
    assert built.compiled.notes == (f"layer 'gemm_0' (Gemm) computes in float: {reason}",)
    truth = factories.reference(model, x)["logits"]
    assert np.abs(built.run(x)["logits"] - truth).max() <= 1.01 * np.abs(truth).max() / 127


def test_what_computes_in_float_between_quantisers_is_told() -> None:
    (note,) = build(network("mobilenet")).compiled.notes
    assert note == "ncnn computes in float between quantisers: 1 Add, 1 GlobalAveragePool"


def test_another_scheme_is_refused() -> None:
    with pytest.raises(BadInputError, match="zero points: quantise for the scheme int8-symmetric"):
        build(factories.qdq_dscnn(symmetric=False))


@pytest.mark.parametrize(
    ("op", "operands", "attributes", "reason"),
    [
        ("InstanceNormalization", (1, 0), {}, "the ncnn backend has no such operation"),
        ("MaxPool", (), {"kernel_shape": [2, 2], "ceil_mode": 1}, "the ncnn backend pools without ceil_mode"),
        ("Resize", (1, 1, 2, 2), {"mode": "cubic"}, "the ncnn backend has no cubic resizing"),
        ("Resize", (1, 1, 1.3, 1.3), {"mode": "linear"}, "its scales make no whole number of rows and columns"),
    ],
)
def test_a_refusal_comes_before_calibration_and_names_the_node(
    op: str, operands: tuple[float, ...], attributes: dict[str, Any], reason: str
) -> None:
    net = Net(0, (4, 6, 6))
    more = ["", net.constant(operands)] if op == "Resize" else [net.constant(np.full(4, value)) for value in operands]
    model = net.model(net.op(op, net.conv("input", 4, 4), *more, **attributes))
    with pytest.raises(BadInputError, match=rf"^node '{op.lower()}_1' \({op}\): {reason}"):
        require_taken(model, TARGET)


def test_tokens_are_refused() -> None:
    ids = onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["n", 4])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Cast", ["ids"], ["y"], name="c", to=1)], "g", [ids], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(BadInputError, match="input 'ids' is not float32"):
        build(model, "float")
