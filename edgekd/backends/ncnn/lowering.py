"""ONNX to ncnn, operation by operation: layers so far, and which blobs hold a tensor.

ncnn's int8 layers are convolutions and inner products. Everything else computes in float: a quantised tensor that it
reads is an int8 blob, cast and multiplied by the scale. MaxPool, Concat and whatever else would take an int8 blob and
make something wrong of it never sees one.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto

from edgekd.backends.compiled import Precision
from edgekd.backends.ncnn.format import Array, Layer, Network, Parameter, plain, weights
from edgekd.backends.ncnn.rules import RULES
from edgekd.backends.ncnn.source import Shape, Source, refuse
from edgekd.onnx_graph import QUANTIZERS

FP16_ARITHMETIC, FP16_STORAGE, BF16_STORAGE, WINOGRAD = 1, 2, 4, 64  # what a layer may be kept from
FLOAT32 = FP16_ARITHMETIC | FP16_STORAGE | BF16_STORAGE
FEATURES_OFF: Mapping[Precision, int] = {
    "float": FLOAT32,
    "int8": FLOAT32 | WINOGRAD,  # whose sums, F(4,3), overflow int32
    "float16": BF16_STORAGE | WINOGRAD,  # which loses five times as much there as fp16 itself
}
INT8 = {"Conv", "ConvTranspose", "Gemm", "MatMul"}  # that are noted one by one
SHAPING = {"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
SIZES = {1: (0,), 2: (1, 0), 3: (2, 1, 0), 4: (2, 11, 1, 0)}  # keys of a shape's sizes by rank, outermost first


@dataclass
class Value:
    """A tensor: a float blob, an int8 one, or both. With a scale it is on that grid: at most 127 steps from zero."""

    real: str | None = None
    stored: str | None = None
    scale: float | None = None


class Lowering:
    """Walks a source. In float16 weights are stored as such, and CPUs that have it compute in it."""

    def __init__(self, source: Source, precision: Precision) -> None:
        self.source, self.precision = source, precision
        self.network = Network(FEATURES_OFF[precision])
        self.values: dict[str, Value] = {}
        self.notes: list[str] = []
        self._done: set[int] = set()
        self._names: set[str] = set()

    def run(self) -> tuple[str, bytes]:
        """The content of both files; raise BadInputError naming the node that has no form in ncnn."""
        graph = self.source.graph
        for index, name in enumerate(graph.inputs):
            self._input(name, f"in{index}")
        for node in self.source.nodes:
            if id(node) not in self._done:
                emit = RULES.get(node.op_type) if not node.domain else None
                if emit is None:
                    refuse(node, "the ncnn backend has no such operation")
                emit(self, node)
        self._note_floats()
        return self.network.finish([self._output(name) for name in graph.outputs])

    def _note_floats(self) -> None:
        """Say what lies between quantisers, where other runtimes have integer kernels, and computes in float."""
        floats = Counter(node.op_type for node in self.source.nodes if self._between_quantisers(node))
        if floats:
            told = ", ".join(f"{count} {kind}" for kind, count in sorted(floats.items()))
            self.notes.append(f"ncnn computes in float between quantisers: {told}")

    def _between_quantisers(self, node: NodeProto) -> bool:
        values = [self.values[edge] for edge in node.input if edge in self.values]
        readers = {reader.op_type for edge in node.output for reader in self.source.graph.consumers(edge)}
        computes = node.op_type not in QUANTIZERS | SHAPING | INT8
        return computes and bool(values) and all(value.scale for value in values) and readers == {"QuantizeLinear"}

    def _input(self, name: str, blob: str) -> None:
        readers = self.source.graph.consumers(name)
        if self.source.graph.types.get(name) != onnx.TensorProto.FLOAT:
            reader = readers[0] if readers else NodeProto(name=name, op_type="Input")
            refuse(reader, f"input {name!r} is not float32, which is all that ncnn is fed here")
        sizes = self.source.shape(readers[0] if readers else NodeProto(name=name), name)
        keys = dict(zip(SIZES[len(sizes)], sizes, strict=True))
        self.network.layers.append(Layer("Input", blob, [], [blob], dict(sorted(keys.items()))))
        self._names.add(blob)
        self.values[name] = Value(real=blob)

    def _output(self, name: str) -> str:
        maker = self.source.graph.producer(name)
        if name not in self.values:
            refuse(maker or NodeProto(name=name), "this output does not depend on the input")
        return self.real_of(self.values[name], name)

    def skip(self, node: NodeProto) -> None:
        """Leave out a node that another one's layers compute, too."""
        self._done.add(id(node))

    def layer(
        self,
        kind: str,
        inputs: Sequence[str],
        name: str,
        parameters: Mapping[int, Parameter] | None = None,
        content: bytes = b"",
        outputs: int = 1,
    ) -> str:
        """Append a layer with one output; gives its blob. Of several outputs, the others end in `:1`, `:2` …."""
        name = self._fresh(name)
        blobs = [name, *(f"{name}:{index}" for index in range(1, outputs))]
        self.network.layers.append(Layer(kind, name, list(inputs), blobs, dict(parameters or {}), content))
        return name

    def _fresh(self, name: str) -> str:
        """A name without what a .param file means something by, not taken yet."""
        clean = re.sub(r"[^\w./:-]", "_", name) or "layer"
        unique, count = clean, 0
        while unique in self._names:
            count += 1
            unique = f"{clean}_{count}"
        self._names.add(unique)
        return unique

    def weights(self, values: Array) -> bytes:
        """Float weights in the precision of the file."""
        return weights(values.astype(np.float16 if self.precision == "float16" else np.float32))

    def set(self, edge: str, real: str, scale: float | None = None) -> None:
        """Say which float blob holds a tensor."""
        self.values[edge] = Value(real=real, scale=scale)

    def value(self, node: NodeProto, position: int) -> Value:
        """A tensor that a node reads; a constant becomes a blob."""
        edge = node.input[position]
        if edge not in self.values:
            held = self.source.constant(edge)
            if held is None:
                refuse(node, f"input {edge!r} is not there")
            self.set(edge, self.constant(edge, held, held.shape or (1,)))
        return self.values[edge]

    def real(self, node: NodeProto, position: int = 0) -> str:
        """The float blob of a tensor that a node reads."""
        return self.real_of(self.value(node, position), node.input[position])

    def real_of(self, value: Value, edge: str) -> str:
        """A tensor's float blob; from int8 it is cast and multiplied, bit for bit as DequantizeLinear does."""
        if value.real is None:
            assert value.stored is not None
            assert value.scale is not None
            cast = self.layer("Cast", [value.stored], f"{edge}:cast", {0: 3, 1: 1})
            value.real = self.layer("BinaryOp", [cast], f"{edge}:dequantised", {0: 2, 1: 1, 2: value.scale})
        return value.real

    def stored_of(self, value: Value, edge: str) -> str:
        """A tensor's int8 blob; `scale` must be known."""
        if value.stored is None:
            assert value.real is not None
            assert value.scale is not None
            value.stored = self.quantised(value.real, value.scale, edge)
        return value.stored

    def quantised(self, blob: str, scale: float, edge: str) -> str:
        """A float blob in int8."""
        return self.layer("Quantize", [blob], f"{edge}:quantised", {0: 1}, plain([reciprocal(scale)]))

    def constant(self, name: str, held: Array, shape: Shape) -> str:
        """A blob that holds numbers."""
        keys = dict(zip(SIZES[len(shape)], shape, strict=True))
        return self.layer("MemoryData", [], f"{name}:constant", dict(sorted(keys.items())), plain(held))

    def reshaped(self, blob: str, before: Shape, after: Shape, name: str) -> str:
        """A blob in another shape; itself, where that is its own."""
        if before == after:
            return blob
        made = next((layer for layer in self.network.layers if layer.outputs == [blob]), None)
        source = made.inputs[0] if made is not None and made.kind == "Reshape" else blob
        keys = dict(zip(SIZES[len(after)], after, strict=True))
        return self.layer("Reshape", [source], name, dict(sorted(keys.items())))


def reciprocal(scale: float | Array) -> Array:
    """What ncnn calls a scale: steps per unit."""
    return (1 / np.asarray(scale, np.float64)).astype(np.float32)
