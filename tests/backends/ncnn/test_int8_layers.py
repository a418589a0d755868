"""Which layers are int8, what their lines say, and how the runtime reads those."""

from pathlib import Path

import onnx
import pytest

from edgekd.backends.ncnn.runtime import Ncnn, read_param
from edgekd.runner.errors import RunnerError
from tests import factories
from tests.backends.ncnn.harness import build
from tests.factories import Net

LINES = ["7767517", "3 3", "Input in0 0 1 in0{}", "ReLU r 1 1 in0 mid", "InnerProduct p 1 1 mid out0 0=4 2=8"]


def written(folder: Path, sizes: str = "", gap: str = "\n") -> Path:
    path = folder / "model.param"
    path.write_text(gap.join(LINES).format(sizes) + gap)
    return path


@pytest.mark.parametrize("gap", ["\n", "\n\n", "\n  \n"])
def test_lines_without_words_are_no_layers(tmp_path: Path, gap: str) -> None:
    layers = read_param(written(tmp_path, gap=gap))
    assert [layer.kind for layer in layers] == ["Input", "ReLU", "InnerProduct"]
    assert layers[-1].inputs == ["mid"]
    assert (layers[-1].number(0), layers[-1].number(2), layers[-1].number(8)) == (4, 8, 0)


def test_what_is_empty_is_no_param_file(tmp_path: Path) -> None:
    (tmp_path / "model.param").write_text("\n\n")
    with pytest.raises(RunnerError, match="no .param file of ncnn"):
        read_param(tmp_path / "model.param")


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ("", [None, None, None, None]),
        (" 0=7", [None, 7]),
        (" 0=7 1=6", [None, 6, 7]),
        (" 0=7 1=6 2=5", [None, 5, 6, 7]),
        (" 0=7 1=6 2=4 11=5", [None, 4, 5, 6, 7]),
    ],
)
def test_inputs_have_the_sizes_that_the_file_says(tmp_path: Path, sizes: str, shape: list[int | None]) -> None:
    (entering,), (leaving,) = Ncnn({}).tensors(written(tmp_path, sizes))
    assert (entering["name"], entering["shape"]) == ("in0", shape)
    assert (leaving["name"], leaving["shape"]) == ("out0", [None])


def test_float_layers_with_weights_count_as_such_and_others_do_not(tmp_path: Path) -> None:
    net = Net(0, (2, 5, 5))
    model = net.model(net.relu(net.conv(net.relu(net.conv("input", 2, 3)), 3, 4)))
    counted = build(model, "float").loaded(tmp_path, 1).operator_coverage()
    assert (counted["int8"], counted["total"]) == (0, 2)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_weight_scale_for_all_outputs_is_int8_along_any_axis(shape: tuple[int, ...], tmp_path: Path) -> None:
    net = Net(0, (6,))
    model = factories.quantize(net.model(net.gemm("input", 6, 4)), net.inputs(64), symmetric=True)
    node = next(node for node in model.graph.node if node.output[0] == "constant_0_dq")
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, value in zip(node.input[1:], (0.01, 0), strict=True):
        kind = onnx.helper.tensor_dtype_to_np_dtype(held[name].data_type)
        number = onnx.numpy_helper.from_array(kind.type(value).reshape(shape), name)
        held[name].CopyFrom(number)
    node.attribute[0].i = 1
    built = build(model)
    assert built.compiled.notes == ()
    assert built.loaded(tmp_path, 1).operator_coverage()["int8"] == 1


def test_a_quantiser_is_named_after_the_tensor_that_it_stores() -> None:
    net = Net(0, (4, 6, 6))
    pooled = net.op("MaxPool", net.relu(net.conv("input", 4, 4)), kernel_shape=[2, 2], strides=[2, 2])
    built = build(factories.quantize(net.model(net.conv(pooled, 4, 4)), net.inputs(64), symmetric=True))
    names = [layer.name for layer in built.layers if layer.kind == "Quantize"]
    assert names
    assert not [name for name in names if name.startswith("constant")]


def test_layers_that_the_graph_keeps_in_float_are_told_of_int8_alone() -> None:
    net = Net(0, (4, 6, 6))
    plain = net.model(net.op("Erf", net.conv("input", 4, 4)))
    quantised = factories.quantize(plain, net.inputs(64), symmetric=True, float_outputs=True)
    assert build(quantised).compiled.notes == ("Tail in float at erf_1: it follows the last layers",)
    assert build(plain, "float").compiled.notes == ()


def test_a_line_says_how_a_layer_is_scaled_and_what_it_makes() -> None:
    """1: a scale for each channel, 2: one for all its inputs; with 100 more the output is int8, too."""
    net = Net(0, (4, 6, 6))
    y = net.relu(net.conv(net.relu(net.conv(net.conv("input", 4, 4), 4, 4, group=4)), 4, 4))
    pooled = net.op("Flatten", net.op("GlobalAveragePool", net.conv(y, 4, 4, group=4)))
    model = factories.quantize(net.model(net.gemm(pooled, 4, 3)), net.inputs(64), symmetric=True)
    said = [(layer.kind, layer.number(8)) for layer in build(model).layers if layer.number(8)]
    assert said == [
        ("Convolution", 102), ("ConvolutionDepthWise", 101), ("Convolution", 102), ("ConvolutionDepthWise", 101),
        ("InnerProduct", 2),
    ]  # fmt: skip


def test_scales_lie_along_the_second_axis_where_none_is_named(tmp_path: Path) -> None:
    net = Net(0, (6,))
    weight = net.constant(net.rng.normal(0, 0.4, (6, 4)))
    model = factories.quantize(net.model(net.op("MatMul", "input", weight)), net.inputs(64), symmetric=True)
    node = next(node for node in model.graph.node if node.output[0] == "constant_0_dq")
    assert [attribute.i for attribute in node.attribute if attribute.name == "axis"] == [1]
    del node.attribute[:]
    built = build(model)
    assert built.compiled.notes == ()
    assert built.loaded(tmp_path, 1).operator_coverage()["int8"] == 1


def test_two_scales_along_the_inputs_are_not_the_outputs() -> None:
    net = Net(0, (2,))
    model = factories.quantize(net.model(net.gemm("input", 2, 2)), net.inputs(64), symmetric=True)
    next(node for node in model.graph.node if node.output[0] == "constant_0_dq").attribute[0].i = 1
    (note,) = build(model).compiled.notes
    assert note == "layer 'gemm_0' (Gemm) computes in float: ncnn has a weight scale for each output"
