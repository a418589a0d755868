import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from edgekd.onnx_graph import inferred
from edgekd.onnx_weightless import without_weights

WIDTH = 64  # squared it is more than a shape has


def model(rows: int = WIDTH) -> onnx.ModelProto:
    """Product, Reshape by a small initialiser, and a branch that reads a large one from within."""
    weight = numpy_helper.from_array(np.ones((rows, WIDTH), np.float32), "weight")
    shape = numpy_helper.from_array(np.array([-1, 2, WIDTH // 2]), "shape")
    inner = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["weight"], ["inner"])], "branch", [], [inner])
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"]),
        helper.make_node("Reshape", ["product", "shape"], ["y"]),
        helper.make_node("If", ["flag"], ["z"], then_branch=branch, else_branch=branch),
    ]
    inputs = [("x", TensorProto.FLOAT, ["n", WIDTH]), ("flag", TensorProto.BOOL, [])]
    outputs = [("y", TensorProto.FLOAT, None), ("z", TensorProto.FLOAT, None)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs], [weight, shape], "a page",
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="somebody")
    helper.set_model_props(made, {"key": "value"})
    return made


def test_the_same_is_inferred_and_nothing_is_lost() -> None:
    whole = onnx.shape_inference.infer_shapes(model(), strict_mode=True, data_prop=True)
    assert inferred(model()) == whole  # field by field, numbers among them
    assert whole.graph.output[0].type.tensor_type.shape.dim[2].dim_value == WIDTH // 2


def test_it_holds_no_weights() -> None:
    light = without_weights(model())
    assert light.ByteSize() < model().ByteSize() / 10
    assert numpy_helper.to_array(light.graph.initializer[1]).tolist() == [-1, 2, WIDTH // 2]


def test_shapes_that_contradict_are_refused() -> None:
    with pytest.raises(BadInputError, match="Incompatible dimensions"):
        inferred(model(rows=WIDTH + 1))
