"""A float ONNX model quantised as QDQ, independently of edgekd: what the backends' tests take as given."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
PASS_THROUGH = {
    "DepthToSpace",
    "Flatten",
    "Gather",
    "GlobalMaxPool",
    "MaxPool",
    "Pad",
    "ReduceMax",
    "ReduceMin",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
FUSED_ACTIVATIONS = {"Relu", "Clip"}
FUSING = {*WEIGHTED, "Add", "Sub", "Mul"}
FIXED_UINT8 = {
    "HardSigmoid": (1 / 256, 0),
    "LogSoftmax": (16 / 256, 255),
    "Sigmoid": (1 / 256, 0),
    "Softmax": (1 / 256, 0),
    "Tanh": (1 / 128, 128),
}


def build_model(
    nodes: list[onnx.NodeProto],
    constants: dict[str, Array],
    shape: tuple[int, ...],
    outputs: tuple[str, ...],
    metadata: dict[str, str],
) -> onnx.ModelProto:
    """A checked model with one input (batch, *shape) and outputs whose shapes are inferred."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model)
    for output, known in zip(model.graph.output, inferred.graph.output, strict=True):
        output.CopyFrom(known)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model


def reference(model: onnx.ModelProto, x: Array, tensors: list[str] | None = None) -> dict[str, Array]:
    """Outputs of `model` (or any of its tensors) in ONNX Runtime with graph optimisations off."""
    if tensors is not None:
        model = onnx.ModelProto.FromString(model.SerializeToString())
        del model.graph.output[:]
        model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": x}), strict=True))


@dataclass
class _Quantizer:
    """Rewrites a float model as QDQ, node by node; `grid` holds each quantised tensor's (scale, zero point)."""

    model: onnx.ModelProto
    x: Array
    symmetric: bool
    float_outputs: bool

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
        self.kept: dict[str, Array] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.producer = {name: node for node in graph.node for name in node.output}
        self.outputs = [output.name for output in graph.output]
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        names = ["input", *self.producer]
        values = {"input": self.x} | reference(self.model, self.x, list(self.producer))
        self.grid = {name: self._measure(values[name]) for name in names if self._is_quantised(name)}
        for name in self.producer:
            if name in self.grid:
                self._share(name)

    def _is_quantised(self, name: str) -> bool:
        if name in self.outputs:
            return not self.float_outputs
        consumers = self.consumers.get(name, [])
        if all(node.op_type in FUSED_ACTIVATIONS for node in consumers):
            return name == "input" or self.producer[name].op_type not in FUSING
        return not (self.symmetric and consumers[0].op_type == "Add" and self._fuses(name, consumers))

    def _fuses(self, name: str, consumers: list[onnx.NodeProto]) -> bool:
        """The first conv that feeds a residual Add stays unquantised in the symmetric scheme."""
        convs = [i for i in consumers[0].input if i in self.producer and self.producer[i].op_type == "Conv"]
        return len(consumers) == 1 and bool(convs) and convs[0] == name

    def _measure(self, value: Array) -> tuple[np.float32, int]:
        low, high = min(float(value.min()), 0.0), max(float(value.max()), 1e-6)
        if self.symmetric:
            return np.float32(max(-low, high) / 127), 0
        scale = np.float32((high - low) / 255)
        return scale, int(np.clip(np.rint(-low / scale), 0, 255))

    def _share(self, name: str) -> None:
        node = self.producer[name]
        if node.op_type in PASS_THROUGH:
            self.grid[name] = self.grid[node.input[0]]
        elif node.op_type in FIXED_UINT8:
            scale, zero_point = FIXED_UINT8[node.op_type]
            self.grid[name] = np.float32(scale), zero_point - (128 if self.symmetric else 0)

    def quantize(self) -> onnx.ModelProto:
        self._quantise_tensor("input", "input")
        for node in self.model.graph.node:
            self._convert(node)
        shape = tuple(dim.dim_value for dim in self.model.graph.input[0].type.tensor_type.shape.dim[1:])
        metadata = {"edgekd.scheme": "int8-symmetric" if self.symmetric else "int8-asymmetric"}
        return build_model(self.nodes, self.kept, shape, tuple(self.outputs), metadata)

    def _convert(self, node: onnx.NodeProto) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self._input(node, position) for position in range(len(node.input))]
        self.nodes.append(copy)
        name = node.output[0]
        if name in self.grid and name in self.outputs:
            copy.output[0] = f"{name}_float"
            self._quantise_tensor(name, f"{name}_float")
            self._dequantise(f"{name}_q", name, *self._parameters(name))
        elif name in self.grid:
            self._quantise_tensor(name, name)

    def _input(self, node: onnx.NodeProto, position: int) -> str:
        name = node.input[position]
        if name in self.constants:
            if node.op_type in WEIGHTED and position in (1, 2) and node.input[0] in self.grid:
                return self._weight(name, _output_axis(node)) if position == 1 else self._bias(node, name)
            if node.op_type in ("Add", "Mul", "PRelu", "Sub"):
                return self._constant_operand(name)
            self.kept[name] = self.constants[name]
            return name
        if name not in self.grid:
            return name
        output = f"{name}_for_{node.name}_{position}"
        self._dequantise(f"{name}_q", output, *self._parameters(name))
        return output

    def _parameters(self, name: str) -> tuple[np.float32, Array]:
        scale, zero_point = self.grid[name]
        return scale, np.asarray(zero_point, np.int8 if self.symmetric else np.uint8)

    def _quantise_tensor(self, name: str, source: str) -> None:
        scale, zero_point = self._parameters(name)
        self._linear("QuantizeLinear", source, f"{name}_q", scale, zero_point, {})

    def _dequantise(self, source: str, output: str, scale: Any, zero_point: Any, **attributes: int) -> None:
        self._linear("DequantizeLinear", source, output, scale, zero_point, attributes)

    def _linear(self, kind: str, x: str, y: str, scale: Any, zero_point: Any, attributes: dict[str, int]) -> None:
        key = f"{y}_{kind[0].lower()}"
        self.kept[f"{key}_scale"], self.kept[f"{key}_zero_point"] = np.asarray(scale, np.float32), zero_point
        node = helper.make_node(kind, [x, f"{key}_scale", f"{key}_zero_point"], [y], name=f"{key}_node", **attributes)
        self.nodes.append(node)

    def _weight_scale(self, name: str, axis: int) -> Array:
        weight = self.constants[name]
        largest = np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))
        return np.maximum(largest / 127, 1e-8).astype(np.float32)

    def _weight(self, name: str, axis: int) -> str:
        weight, scale = self.constants[name], self._weight_scale(name, axis)
        steps = np.rint(weight / np.moveaxis(scale.reshape(-1, *[1] * (weight.ndim - 1)), 0, axis))
        self.kept[f"{name}_q"] = np.clip(steps, -127, 127).astype(np.int8)
        self._dequantise(f"{name}_q", f"{name}_dq", scale, np.zeros(len(scale), np.int8), axis=axis)
        return f"{name}_dq"

    def _bias(self, node: onnx.NodeProto, name: str) -> str:
        if self.symmetric:
            self.kept[name] = self.constants[name]
            return name
        scale = (self.grid[node.input[0]][0] * self._weight_scale(node.input[1], _output_axis(node))).astype(np.float32)
        self.kept[f"{name}_q"] = np.rint(self.constants[name] / scale).astype(np.int32)
        self._dequantise(f"{name}_q", f"{name}_dq", scale, np.zeros(len(scale), np.int32), axis=0)
        return f"{name}_dq"

    def _constant_operand(self, name: str) -> str:
        value = self.constants[name]
        scale, zero_point = self._measure(value)
        low, high, dtype = (-127, 127, np.int8) if self.symmetric else (0, 255, np.uint8)
        self.kept[f"{name}_q"] = np.clip(np.rint(value / scale) + zero_point, low, high).astype(dtype)
        self._dequantise(f"{name}_q", f"{name}_dq", scale, np.asarray(zero_point, dtype))
        return f"{name}_dq"


def _output_axis(node: onnx.NodeProto) -> int:
    """Axis of a weight that its output channels lie on."""
    transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1


def quantize(model: onnx.ModelProto, x: Array, symmetric: bool = False, float_outputs: bool = False) -> onnx.ModelProto:
    """QDQ form of a float model, its ranges measured on `x`; one DQ per consumer, no initialiser shared."""
    return _Quantizer(model, x, symmetric, float_outputs).quantize()
