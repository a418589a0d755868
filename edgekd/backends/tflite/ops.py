"""What a .tflite file consists of: its ops by name, their tensors, their multiply-accumulates, who asked for them."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.flatbuffer import unpack
from edgekd.onnx_graph import QUANTIZERS, label

Shape = list[int]
NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}

# from the shapes of the input, of the weights and of the output
MACS: dict[str, Callable[[Shape, Shape, Shape], int]] = {
    "CONV_2D": lambda x, weights, y: prod(y) * prod(weights[1:]),
    "DEPTHWISE_CONV_2D": lambda x, weights, y: prod(y) * prod(weights[1:3]),
    "TRANSPOSE_CONV": lambda x, weights, y: prod(x) * prod(weights[:3]),
    "FULLY_CONNECTED": lambda x, weights, y: prod(y) * weights[-1],
    "BATCH_MATMUL": lambda x, other, y: prod(y) * x[-1],
}

ACTIVATIONS = ("Relu", "Clip")
JOINS = ("ADD", "SUB", "MUL")  # that take an activation in, as layers do


@dataclass(frozen=True)
class Op:
    """One op with the tensors that it reads (absent ones left out) and makes."""

    code: str
    inputs: list[Any]
    output: Any

    @property
    def name(self) -> str:
        """Of the tensor that it makes."""
        return str(self.output.name.decode())

    @property
    def floats(self) -> bool:
        """Whether it reads or makes float values."""
        return any(tensor.type == schema.TensorType.FLOAT32 for tensor in (*self.inputs, self.output))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        work = MACS.get(self.code)
        x = self.inputs[2 if self.code == "TRANSPOSE_CONV" else 0]  # which begins with the shape of its output
        return int(work(x.shape, self.inputs[1].shape, self.output.shape)) if work else 0


def ops_of(content: bytes) -> list[Op]:
    """The ops of a .tflite file, in order."""
    model = unpack(content)
    graph = model.subgraphs[0]
    return [
        Op(
            NAMES[model.operatorCodes[op.opcodeIndex].builtinCode],
            [graph.tensors[index] for index in op.inputs if index >= 0],
            graph.tensors[op.outputs[0]],
        )
        for op in graph.operators
    ]


def maker(model: onnx.ModelProto, op: Op) -> onnx.NodeProto | None:
    """The ONNX node behind an op, before the activation that it took in.

    What was added around a node is named after its tensor, with a suffix.
    """
    nodes, name = {output: node for node in model.graph.node for output in node.output}, op.name
    while name not in nodes and ":" in name:
        name = name.rpartition(":")[0]
    taken_in = ACTIVATIONS if op.code in MACS or op.code in JOINS else ()
    while name in nodes and nodes[name].op_type in (*QUANTIZERS, *taken_in):
        name = nodes[name].input[0]
    return nodes.get(name)


def named_node(model: onnx.ModelProto, op: Op) -> str:
    """The ONNX node behind an op in words, or the tensor that no node asked for."""
    node = maker(model, op)
    return f"node {label(node)!r} ({node.op_type})" if node else f"tensor {op.name!r}"
