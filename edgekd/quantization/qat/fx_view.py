"""A torch.fx graph as the neutral view that placement reads."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from edgekd.quantization.view import Op, View

MODULES: dict[type[nn.Module], str] = {
    nn.AdaptiveAvgPool1d: "AdaptiveAveragePool",
    nn.AdaptiveAvgPool2d: "AdaptiveAveragePool",
    nn.AdaptiveMaxPool1d: "MaxPool",
    nn.AdaptiveMaxPool2d: "MaxPool",
    nn.AvgPool1d: "AveragePool",
    nn.AvgPool2d: "AveragePool",
    nn.BatchNorm1d: "BatchNormalization",
    nn.BatchNorm2d: "BatchNormalization",
    nn.ConstantPad1d: "Pad",
    nn.ConstantPad2d: "Pad",
    nn.Conv1d: "Conv",
    nn.Conv2d: "Conv",
    nn.ConvTranspose1d: "ConvTranspose",
    nn.ConvTranspose2d: "ConvTranspose",
    nn.Dropout: "Identity",
    nn.Dropout1d: "Identity",
    nn.Dropout2d: "Identity",
    nn.Embedding: "Embedding",
    nn.Flatten: "Flatten",
    nn.Hardtanh: "Clip",
    nn.Identity: "Identity",
    nn.LayerNorm: "LayerNormalization",
    nn.Linear: "Gemm",
    nn.MaxPool1d: "MaxPool",
    nn.MaxPool2d: "MaxPool",
    nn.PixelShuffle: "DepthToSpace",
    nn.ReLU: "Relu",
    nn.ReLU6: "Clip",
    nn.Sigmoid: "Sigmoid",
    nn.Softmax: "Softmax",
    nn.Tanh: "Tanh",
    nn.Unflatten: "Reshape",
    nn.Upsample: "Resize",
    nn.ZeroPad2d: "Pad",
}

FUNCTIONS: dict[Callable[..., Any], str] = {
    F.adaptive_avg_pool1d: "AdaptiveAveragePool",
    F.adaptive_avg_pool2d: "AdaptiveAveragePool",
    F.adaptive_max_pool1d: "MaxPool",
    F.adaptive_max_pool2d: "MaxPool",
    F.avg_pool1d: "AveragePool",
    F.avg_pool2d: "AveragePool",
    F.dropout: "Identity",
    F.embedding: "Embedding",
    F.hardtanh: "Clip",
    F.interpolate: "Resize",
    F.layer_norm: "LayerNormalization",
    F.max_pool1d: "MaxPool",
    F.max_pool2d: "MaxPool",
    F.pad: "Pad",
    F.pixel_shuffle: "DepthToSpace",
    F.relu6: "Clip",
    F.relu: "Relu",
    F.scaled_dot_product_attention: "Attention",
    F.sigmoid: "Sigmoid",
    F.softmax: "Softmax",
    F.tanh: "Tanh",
    operator.add: "Add",
    operator.getitem: "Slice",
    operator.iadd: "Add",
    operator.imul: "Mul",
    operator.matmul: "MatMul",
    operator.mul: "Mul",
    torch.add: "Add",
    torch.amax: "ReduceMax",
    torch.cat: "Concat",
    torch.clamp: "Clip",
    torch.concat: "Concat",
    torch.flatten: "Flatten",
    torch.matmul: "MatMul",
    torch.mean: "ReduceMean",
    torch.mul: "Mul",
    torch.permute: "Transpose",
    torch.relu: "Relu",
    torch.reshape: "Reshape",
    torch.sigmoid: "Sigmoid",
    torch.softmax: "Softmax",
    torch.squeeze: "Squeeze",
    torch.tanh: "Tanh",
    torch.transpose: "Transpose",
    torch.unsqueeze: "Unsqueeze",
}

METHODS = {
    "add": "Add",
    "add_": "Add",
    "amax": "ReduceMax",
    "clamp": "Clip",
    "clone": "Identity",
    "contiguous": "Identity",
    "flatten": "Flatten",
    "matmul": "MatMul",
    "mean": "ReduceMean",
    "mul": "Mul",
    "mul_": "Mul",
    "permute": "Transpose",
    "relu": "Relu",
    "relu_": "Relu",
    "reshape": "Reshape",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "squeeze": "Squeeze",
    "tanh": "Tanh",
    "transpose": "Transpose",
    "unsqueeze": "Unsqueeze",
    "view": "Reshape",
}

PIECES = frozenset({torch.chunk, torch.split, torch.unbind, "chunk", "split", "unbind"})
"""Calls that give a tuple of pieces; each is a slice of what was cut."""

_GLOBAL_POOLS = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "GlobalMaxPool"}
_SPATIAL_AXES = ({2, 3}, {-1, -2})
_SIZES = frozenset({"dim", "size"})


def view_of(module: fx.GraphModule) -> tuple[View, dict[str, fx.Node]]:
    """The view of a traced module, and the node that makes each edge; the edge of a sole output is called `logits`."""
    reader = _Reader(module)
    for node in module.graph.nodes:
        reader.read(node)
    return View(tuple(reader.ops), tuple(reader.inputs), tuple(reader.outputs)), reader.makers


class _Reader:
    def __init__(self, module: fx.GraphModule) -> None:
        self.module = module
        self.ops: list[Op] = []
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.makers: dict[str, fx.Node] = {}
        self._edges: dict[fx.Node, str] = {}

    def read(self, node: fx.Node) -> None:
        edges = self._operands(node)
        if node.op == "placeholder":
            self.inputs.append(self._name(node))
        elif node.op == "output":
            self.outputs.extend(edges)
        elif node.op != "get_attr" and edges and not _is_size(node):
            kind = _kind(self.module, node)
            if kind == "Identity" or _is_cut(node):
                self._edges[node] = edges[0]
            else:
                label = str(node.target) if node.op == "call_module" else node.name
                layer = kind in {"Conv", "ConvTranspose", "Gemm"} or (kind == "Add" and len(edges) == 1)
                whole = node.op == "call_module" and layer and _whole(self.module.get_submodule(str(node.target)))
                self.ops.append(Op(label, kind, tuple(edges), (self._name(node),), constant=layer, arithmetic=whole))

    def _operands(self, node: fx.Node) -> list[str]:
        """Activations that a node reads, in order; constants and sizes are not among them."""
        found: list[str] = []
        fx.map_arg((node.args, node.kwargs), lambda operand: found.extend(self._edge(operand)))
        return found

    def _edge(self, node: fx.Node) -> list[str]:
        return [self._edges[node]] if node in self._edges else []

    def _name(self, node: fx.Node) -> str:
        sole = len(node.users) == 1 and next(iter(node.users)).args == (node,) and next(iter(node.users)).op == "output"
        self._edges[node] = "logits" if sole else node.name
        self.makers[self._edges[node]] = node
        return self._edges[node]


def _whole(layer: nn.Module) -> bool:
    """Whether a layer's weights are whole numbers without a bias: arithmetic, not learned."""
    weight = getattr(layer, "weight", None)
    return weight is not None and getattr(layer, "bias", None) is None and torch.equal(weight, weight.round())


def _is_size(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _SIZES
    return node.target is getattr and node.args[1] in {"shape", "ndim", "dtype", "device"}


def _kind(module: fx.GraphModule, node: fx.Node) -> str:
    """The operation's ONNX word, or one that no rule knows where its arguments give it another meaning."""
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        word = next((kind for base, kind in MODULES.items() if isinstance(layer, base)), type(layer).__name__)
        return _module_kind(layer, word)
    word = METHODS.get(str(node.target), "") if node.op == "call_method" else FUNCTIONS.get(_callable(node), "")
    return _call_kind(node, word) if word else str(node.target)


def _module_kind(layer: Any, word: str) -> str:
    if word == "Conv" and layer.padding_mode != "zeros":
        return "PaddedConv"
    if word == "ConvTranspose" and layer.groups != 1:
        return "GroupedConvTranspose"
    if word == "Resize" and layer.mode == "bicubic":
        return "Cubic"
    if word == "Clip" and layer.min_val != 0:
        return "Clamp"
    if word == "Pad" and layer.value != 0:
        return "Border"
    if word == "MaxPool" and layer.return_indices:
        return "ArgMaxPool"
    return _pool_kind(word, getattr(layer, "output_size", None))


def _call_kind(node: fx.Node, word: str) -> str:
    if word == "Clip" and node.target is not F.relu6 and _argument(node, 1, ("min_val", "min")) != 0:
        return "Clamp"
    if word == "Pad" and (
        _argument(node, 2, ("mode",), "constant") != "constant" or _argument(node, 3, ("value",)) not in {None, 0}
    ):
        return "Border"
    if word == "Slice" and not _is_cut(node.args[0]) and not _slices(node.args[1]):
        return "Gather" if _gathers(node.args[1]) else "Lookup"
    if word == "Resize" and _argument(node, 3, ("mode",), "nearest") == "bicubic":
        return "Cubic"
    if word == "Concat" and any(part.op == "get_attr" for part in node.all_input_nodes):
        return "Join"
    if word in _GLOBAL_POOLS:
        axes = _argument(node, 1, ("dim",))
        return _GLOBAL_POOLS[word] if isinstance(axes, (list, tuple)) and set(axes) in _SPATIAL_AXES else word
    if word == "Add" and _argument(node, 2, ("alpha",), 1) != 1:
        return "ScaledAdd"
    return _pool_kind(word, _argument(node, 1, ("output_size",)))


def _is_cut(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.target in PIECES


def _gathers(index: Any) -> bool:
    """Whether an index is made of numbers and slices."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(part, slice | int) or part in {None, Ellipsis} for part in parts)


def _pool_kind(word: str, size: Any) -> str:
    if word != "AdaptiveAveragePool":
        return word
    return "GlobalAveragePool" if size in (1, (1, 1), [1, 1]) else word


def _slices(index: Any) -> bool:
    """Whether an index keeps every axis; an integer drops one, or takes a tensor out of a tuple."""
    return all(
        isinstance(part, slice) or part is Ellipsis for part in (index if isinstance(index, tuple) else (index,))
    )


def _argument(node: fx.Node, index: int, names: tuple[str, ...], default: Any = None) -> Any:
    if index < len(node.args):
        return node.args[index]
    return next((node.kwargs[name] for name in names if name in node.kwargs), default)


def _callable(node: fx.Node) -> Callable[..., Any]:
    return node.target if callable(node.target) else repr
