"""ONNX models written by hand."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper


def model(
    nodes: Sequence[NodeProto],
    constants: dict[str, np.ndarray],
    input_shape: Sequence[int | str] = ("N", 3, 6, 6),
    output: str = "y",
    opset: int = 18,
    output_rank: int = 4,
) -> onnx.ModelProto:
    """A model from "x" to `output`."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(input_shape))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None] * output_rank)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def kinds(found: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in found.graph.node]


def constants(found: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
