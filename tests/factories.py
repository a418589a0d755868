"""Small random networks as float ONNX and as QDQ ONNX of either scheme: numpy, onnx and onnxruntime only.

`float_resnet(seed)`, `qdq_resnet(seed)` and so on are whole nets; `Net` builds one op at a time and `quantize` turns
its float model into the QDQ form that every backend reads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.qdq import Array, build_model, quantize, reference

__all__ = [
    "WHOLE_NETS",
    "Array",
    "Net",
    "build_model",
    "inputs_for",
    "normalised",
    "quantize",
    "reference",
    "smooth_inputs",
]


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


def on_grid(quantized: onnx.ModelProto, x: Array, lowest: int = -128) -> Array:
    """Inputs as their own quantiser has them: none lies between two steps, where runtimes may round either way."""
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    (first,) = [node for node in quantized.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "input"]
    scale, zero = (values[name].astype(np.float64) for name in first.input[1:])
    least = lowest if values[first.input[2]].dtype == np.int8 else 0
    steps = np.clip(np.rint(x / scale) + zero, least, least - lowest + 127)
    return ((steps - zero) * scale).astype(np.float32)


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
