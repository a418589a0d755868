"""Small random networks as float ONNX and as QDQ ONNX of either scheme: numpy, onnx and onnxruntime only.

`float_resnet(seed)`, `qdq_resnet(seed)` and so on are whole nets; `Net` builds one op at a time and `quantize` turns
its float model into the QDQ form that every backend reads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
PASS_THROUGH = {"MaxPool", "GlobalMaxPool", "Flatten", "Reshape", "Transpose", "Pad", "Squeeze", "Unsqueeze"}
FUSED_ACTIVATIONS = {"Relu", "Clip"}
FUSING = {"Conv", "Gemm", "MatMul", "Add", "Sub", "Mul"}
FIXED_UINT8 = {"Softmax": (1 / 256, 0), "Sigmoid": (1 / 256, 0), "Tanh": (1 / 128, 128)}


@dataclass
class Net:
    """A float graph under construction; every method returns the name of the tensor it makes."""

    seed: int
    shape: tuple[int, ...]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def conv(self, x: str, inputs: int, outputs: int, kernel: int = 3, bias: bool = True, **attributes: Any) -> str:
        """Convolution with He-normal weights; `pads` defaults to "same" for stride 1."""
        group = attributes.setdefault("group", 1)
        attributes.setdefault("pads", [kernel // 2] * 4)
        attributes.setdefault("strides", [1, 1])
        fan_in = inputs // group * kernel * kernel
        weight = self.rng.normal(0, (2 / fan_in) ** 0.5, (outputs, inputs // group, kernel, kernel))
        names = [self.constant(weight)]
        names += [self.constant(self.rng.normal(0, 0.2, outputs))] if bias else []
        return self.op("Conv", x, *names, kernel_shape=[kernel, kernel], **attributes)

    def gemm(self, x: str, inputs: int, outputs: int) -> str:
        weight = self.constant(self.rng.normal(0, inputs**-0.5, (outputs, inputs)))
        return self.op("Gemm", x, weight, self.constant(self.rng.normal(0, 0.2, outputs)), transB=1)

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def relu6(self, x: str) -> str:
        return self.op("Clip", x, self.constant(0.0), self.constant(6.0))

    def model(self, *tensors: str, names: tuple[str, ...] = ("logits",)) -> onnx.ModelProto:
        """The float model; `tensors` become its outputs, called `names`."""
        rename = dict(zip(tensors, names, strict=True))
        nodes = [_renamed(node, rename) for node in self.nodes]
        return build_model(nodes, self.constants, self.shape, names, {})

    def inputs(self, count: int, seed: int = 0) -> Array:
        """`count` smooth random inputs whose mean and contrast vary, so that pooled features move."""
        return smooth_inputs(self.shape, count, self.seed * 1000 + seed)


def _renamed(node: onnx.NodeProto, rename: dict[str, str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [rename.get(name, name) for name in node.input]
    copy.output[:] = [rename.get(name, name) for name in node.output]
    return copy


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


def smooth_inputs(shape: tuple[int, ...], count: int, seed: int) -> Array:
    """float32 (count, *shape): low-frequency blobs plus noise, with a mean and a contrast per sample and channel."""
    rng = np.random.default_rng(seed)
    if len(shape) != 3:
        return rng.normal(0, 1, (count, *shape)).astype(np.float32)
    channels, height, width = shape
    coarse = rng.normal(0, 1, (count, channels, -(-height // 4), -(-width // 4)))
    fine = coarse.repeat(4, 2).repeat(4, 3)[:, :, :height, :width] + rng.normal(0, 0.3, (count, *shape))
    mean, contrast = rng.normal(0, 3, (count, channels, 1, 1)), rng.uniform(0.2, 2, (count, channels, 1, 1))
    return (fine * contrast + mean).astype(np.float32)


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


def normalised(model: onnx.ModelProto, x: Array) -> onnx.ModelProto:
    """The same model with weights and biases scaled as batch normalisation would have trained them.

    On `x` every Conv channel gets mean 0 and std 1, every Gemm output mean 0 and std at most 1: eight bits are enough.
    """
    constants = {c.name: c for c in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm") and len(node.input) == 3:
            output = reference(model, x, [node.output[0]])[node.output[0]]
            axes = (0, *range(2, output.ndim))
            weight, bias = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
            std = (
                output.std(axis=axes) if node.op_type == "Conv" else np.full(output.shape[1], output.std(axis=0).max())
            )
            mean, std = output.mean(axis=axes), np.maximum(std, 1e-3)
            for name, value in (
                (node.input[1], weight / std.reshape(-1, *[1] * (weight.ndim - 1))),
                (node.input[2], (bias - mean) / std),
            ):
                constants[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    return model


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
            if node.op_type in ("Conv", "Gemm", "MatMul") and position in (1, 2) and node.input[0] in self.grid:
                return self._weight(name, _output_axis(node)) if position == 1 else self._bias(node, name)
            if node.op_type in ("Add", "Mul", "Sub"):
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


def resnet(seed: int, width: int = 8, size: int = 16, classes: int = 10) -> tuple[onnx.ModelProto, Array]:
    """A ResNet-8-like float net (stride-2 convs with pad 1, 1x1 shortcuts) and calibration inputs."""
    net = Net(seed, (3, size, size))
    x = net.relu(net.conv("input", 3, width))
    channels = width
    for stage, stride in enumerate((1, 2, 2)):
        wide = width * 2**stage
        y = net.relu(net.conv(x, channels, wide, strides=[stride, stride]))
        y = net.conv(y, wide, wide)
        if stride > 1:
            x = net.conv(x, channels, wide, kernel=1, strides=[stride, stride])
        x, channels = net.relu(net.op("Add", y, x)), wide
    return _with_head(net, x, channels, classes)


def mobilenet(seed: int, width: int = 8, size: int = 16, classes: int = 10) -> tuple[onnx.ModelProto, Array]:
    """A MobileNetV2-like float net (inverted residuals, depthwise convs, ReLU6) and calibration inputs."""
    net = Net(seed, (3, size, size))
    x = net.relu6(net.conv("input", 3, width, strides=[2, 2]))
    channels = width
    for wide, stride in ((width, 1), (2 * width, 2), (2 * width, 1)):
        hidden = 3 * channels
        y = net.relu6(net.conv(x, channels, hidden, kernel=1))
        y = net.relu6(net.conv(y, hidden, hidden, strides=[stride, stride], group=hidden))
        y = net.conv(y, hidden, wide, kernel=1)
        x, channels = (net.op("Add", x, y) if stride == 1 and wide == channels else y), wide
    x = net.relu6(net.conv(x, channels, 4 * width, kernel=1))
    return _with_head(net, x, 4 * width, classes)


def dscnn(seed: int, width: int = 16, classes: int = 12) -> tuple[onnx.ModelProto, Array]:
    """A DS-CNN-like float net on a 25x10 map (asymmetric padding, depthwise-separable) and calibration inputs."""
    net = Net(seed, (1, 25, 10))
    x = net.relu(net.conv("input", 1, width, kernel=5, strides=[2, 2], pads=[2, 1, 2, 2]))
    for _ in range(2):
        x = net.relu(net.conv(x, width, width, group=width))
        x = net.relu(net.conv(x, width, width, kernel=1))
    return _with_head(net, x, width, classes)


def _with_head(net: Net, x: str, channels: int, classes: int) -> tuple[onnx.ModelProto, Array]:
    x = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
    calibration = net.inputs(512, seed=1)
    return normalised(net.model(net.gemm(x, channels, classes)), calibration), calibration


def float_resnet(seed: int = 0, **options: int) -> onnx.ModelProto:
    return resnet(seed, **options)[0]


def float_mobilenet(seed: int = 0, **options: int) -> onnx.ModelProto:
    return mobilenet(seed, **options)[0]


def float_dscnn(seed: int = 0, **options: int) -> onnx.ModelProto:
    return dscnn(seed, **options)[0]


def qdq_resnet(seed: int = 0, symmetric: bool = False, **options: int) -> onnx.ModelProto:
    return quantize(*resnet(seed, **options), symmetric=symmetric)


def qdq_mobilenet(seed: int = 0, symmetric: bool = False, **options: int) -> onnx.ModelProto:
    return quantize(*mobilenet(seed, **options), symmetric=symmetric)


def qdq_dscnn(seed: int = 0, symmetric: bool = False, **options: int) -> onnx.ModelProto:
    return quantize(*dscnn(seed, **options), symmetric=symmetric)


def inputs_for(model: onnx.ModelProto, count: int = 32, seed: int = 7) -> Array:
    """Fresh inputs of the kind that the net was calibrated with: float32 (count, *shape of the model's input)."""
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:])
    return smooth_inputs(shape, count, seed)


WHOLE_NETS: dict[str, Callable[..., tuple[onnx.ModelProto, Array]]] = {
    "resnet": resnet,
    "mobilenet": mobilenet,
    "dscnn": dscnn,
}
