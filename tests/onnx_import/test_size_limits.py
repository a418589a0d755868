"""What a model's own numbers make too large is refused before anything is inferred from it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from edgekd.onnx_import.read import read_model
from edgekd.onnx_import.size_limits import DEPTH, require_within_limits
from tests.small_run import complaint, edgekd

NAN = np.float32("nan")
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 6, 6])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)


def model(kind, *operands, **attributes):
    names = [f"c{number}" for number in range(len(operands))]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in zip(names, operands, strict=True)]
    inputs = names if kind in ("Range", "ConstantOfShape") else ["x", *names]
    node = helper.make_node(kind, inputs, ["y"], "bomb", **attributes)
    graph = helper.make_graph([node], "g", [X], [Y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def within(levels):
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [X], [Y])
    for _ in range(levels):
        graph = helper.make_graph([helper.make_node("If", ["x"], ["y"], then_branch=graph)], "g", [X], [Y])
    return helper.make_model(graph)


@pytest.mark.parametrize(
    ("bomb", "words"),
    [
        (model("Tile", np.array([1, 1, 1000, 1000])), "Tile 'bomb' asks for 1e+06 times its operand"),
        (model("Expand", np.array([10**5, 10**5])), "Expand 'bomb' asks for 1e+10 elements"),
        (model("ConstantOfShape", np.array([2**40])), "ConstantOfShape 'bomb' asks for 1.1e+12 elements"),
        (model("Range", np.float32(0), np.float32(1e9), np.float32(1)), "Range 'bomb' asks for 1e+09 elements"),
        (model("Range", np.int64(0), np.int64(9), np.int64(0)), "Range 'bomb' asks for inf elements"),
        (model("Pad", np.array([0, 0, 0, 0, 0, 0, 10**5, 0])), "Pad 'bomb' asks for 1e+05 elements on a side"),
        (model("Resize", np.float32([]), np.float32([1, 1, NAN, NAN])), "Resize 'bomb' asks for nan"),
        (model("Resize", np.float32([]), np.float32([1, 1, 1e4, 1e4])), "Resize 'bomb' asks for 1e+08"),
        (model("Loop", body=within(0).graph), "Loop 'bomb': models with control flow are not supported"),
        (model("MaxPool", kernel_shape=[1, 1], strides=[2**31, 1]), "MaxPool 'bomb' has strides of (2147483648, 1)"),
        (within(DEPTH + 1), "it has more than 200,000 nodes, or graphs within graphs more than 8 deep"),
    ],
)
def test_bombs_are_refused_and_named(tmp_path, bomb, words):
    with pytest.raises(BadInputError, match=r".") as refused:
        require_within_limits(bomb)
    assert words in str(refused.value)
    onnx.save(bomb, tmp_path / "m.onnx")
    assert f"m.onnx: {words}" in complaint(edgekd("export", tmp_path / "m.onnx", "--target", "x86-onnxruntime"), 2)


@pytest.mark.parametrize("dims", [[2**33, 4], [4, -1], [1] * 17])
def test_tensors_of_no_size_are_refused(dims):
    large = model("Add", np.float32([1]))
    del large.graph.initializer[0].dims[:]
    large.graph.initializer[0].dims.extend(dims)
    with pytest.raises(BadInputError, match="tensor 'c0' has the shape"):
        require_within_limits(large)


@pytest.mark.parametrize(
    "usual",
    [
        model("Tile", np.array([1, 1, 2, 2])),
        model("Pad", np.array([0, 0, 3, 3, 0, 0, 3, 3])),
        model("Resize", np.float32([]), np.float32([1, 1, 2, 2])),
        model("AveragePool", kernel_shape=[6, 6]),
        within(2),
    ],
)
def test_usual_models_are_not(usual):
    require_within_limits(usual)


def test_names_that_command_a_terminal_are_shown(tmp_path):
    red = model("Tile", np.array([1, 1, 1000, 1000]))
    red.graph.node[0].name = "\x1b[31mred\x9b\u202e"
    onnx.save(red, tmp_path / "m.onnx")
    shown = complaint(edgekd("export", tmp_path / "m.onnx", "--target", "x86-onnxruntime"), 2)
    assert r"\x1b[31mred\x9b\u202e" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.STRING])
def test_an_output_of_another_type_than_it_is_declared_is_bad_input(tmp_path, kind):
    wrong = model("Identity")
    wrong.graph.output[0].type.tensor_type.elem_type = kind
    onnx.save(wrong, tmp_path / "m.onnx")
    with pytest.raises(BadInputError, match=r"m\.onnx: "):
        read_model(tmp_path / "m.onnx")


def test_an_empty_slice_is_bad_input(tmp_path):
    ends = [np.int64([value]) for value in (0, 0, 2)]
    onnx.save(model("Slice", *ends), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(8, 2, 6, 6)).astype(np.float32))
    argv = ("export", tmp_path / "m.onnx", "--target=x86-onnxruntime", f"--calibration={tmp_path / 'x.npz'}")
    assert "m.onnx: " in complaint(edgekd(*argv), 2)
