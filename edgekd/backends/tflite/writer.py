"""Serialisation: tensors, ops and buffers as a TFLite flatbuffer, the same bytes for the same graph."""

from dataclasses import replace
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Array, Graph, Quantisation, Tensor, constant
from edgekd.errors import BadInputError

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}
INT8_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "RESHAPE": 1}
LAST_CODE_OF_OLD_READERS = 127
BUFFER_ALIGNMENT = 16


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """Kernels and TFLite-Micro map buffers in place: the schema asks for 16-byte alignment, its Python does not."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802
        if self.data is None:
            return super().Pack(builder)
        content = bytes(self.data)
        builder.StartVector(1, len(content), BUFFER_ALIGNMENT)
        builder.head = builder.Head() - len(content)
        builder.Bytes[builder.Head() : builder.Head() + len(content)] = content
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


class Writer:
    """Collects what the rules emit. Tensors are named; a tensor enters the file when an op first mentions it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._tensors: dict[str, Tensor] = {}
        self._operators: list[schema.OperatorT] = []
        self._codes: dict[tuple[str, int], int] = {}
        for name in graph.inputs:
            self._index(name)

    def tensor(self, name: str) -> Tensor:
        """A tensor of the graph or of this file."""
        return self._tensors.get(name) or self.graph.tensors[name]

    def constant(self, name: str, data: Array, quantisation: Quantisation | None = None) -> str:
        """Add a tensor that holds its value; returns its name, lengthened when another value has it already."""
        while name in self._tensors and not self._holds(name, data, quantisation):
            name += "'"
        self._tensors.setdefault(name, constant(name, data, quantisation))
        return name

    def like(self, source: str, name: str, **changes: Any) -> str:
        """Add a computed tensor that resembles another; returns its name."""
        self._tensors.setdefault(name, replace(self.tensor(source), name=name, data=None, **changes))
        return name

    def op(self, code: str, inputs: list[str], output: str, options: Any = None) -> None:
        """Append one TFLite op; an input of "" is an absent optional one."""
        operator = schema.OperatorT()
        operator.inputs = [self._index(name) if name else -1 for name in inputs]
        operator.outputs = [self._index(output)]
        integer = any(name and self.tensor(name).dtype == np.int8 for name in (*inputs, output))
        key = (code, INT8_VERSIONS.get(code, 2) if integer else 1)
        operator.opcodeIndex = self._codes.setdefault(key, len(self._codes))
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(operator)

    def finish(self) -> bytes:
        """The whole file."""
        model = schema.ModelT()
        model.version, model.description = 3, "edgekd"
        model.buffers = [_AlignedBuffer()]  # buffer 0 means "no data"
        model.subgraphs = [self._subgraph(model.buffers)]
        model.operatorCodes = [_operator_code(code, version) for code, version in self._codes]
        model.signatureDefs = [self._signature()]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _holds(self, name: str, data: Array, quantisation: Quantisation | None) -> bool:
        tensor = self._tensors[name]
        return tensor.data is not None and np.array_equal(tensor.data, data) and tensor.quantisation == quantisation

    def _index(self, name: str) -> int:
        if name not in self._tensors:
            self._tensors[name] = self.graph.tensors[name]
        return list(self._tensors).index(name)

    def _subgraph(self, buffers: list[schema.BufferT]) -> schema.SubGraphT:
        subgraph = schema.SubGraphT()
        subgraph.name = "main"
        subgraph.inputs = [self._index(name) for name in self.graph.inputs]
        subgraph.outputs = [self._index(name) for name in self.graph.outputs]
        subgraph.operators = self._operators
        subgraph.tensors = [_tensor(tensor, buffers) for tensor in self._tensors.values()]
        return subgraph

    def _signature(self) -> schema.SignatureDefT:
        signature = schema.SignatureDefT()
        signature.signatureKey = "serving_default"
        signature.inputs = [self._mapped(name) for name in self.graph.inputs]
        signature.outputs = [self._mapped(name) for name in self.graph.outputs]
        return signature

    def _mapped(self, name: str) -> schema.TensorMapT:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name, self._index(name)
        return entry


def _type(tensor: Tensor) -> int:
    if tensor.dtype.name not in TYPES:
        raise BadInputError(f"tensor {tensor.name!r} has type {tensor.dtype.name}; supported: {', '.join(TYPES)}")
    return int(TYPES[tensor.dtype.name])


def _operator_code(code: str, version: int) -> schema.OperatorCodeT:
    entry = schema.OperatorCodeT()
    entry.builtinCode = getattr(schema.BuiltinOperator, code)
    entry.deprecatedBuiltinCode = min(entry.builtinCode, LAST_CODE_OF_OLD_READERS)
    entry.version = version
    return entry


def _tensor(tensor: Tensor, buffers: list[schema.BufferT]) -> schema.TensorT:
    entry = schema.TensorT()
    entry.name, entry.type, entry.hasRank = tensor.name, _type(tensor), True
    entry.shape = np.asarray(tensor.shape, np.int32)
    if -1 in tensor.signature:
        entry.shapeSignature = np.asarray(tensor.signature, np.int32)
    if tensor.quantisation is not None:
        entry.quantization = _quantisation(tensor.quantisation)
    if tensor.data is not None:
        entry.buffer = len(buffers)
        buffer = _AlignedBuffer()
        buffer.data = np.ascontiguousarray(tensor.data).tobytes()
        buffers.append(buffer)
    return entry


def _quantisation(quantisation: Quantisation) -> schema.QuantizationParametersT:
    entry = schema.QuantizationParametersT()
    entry.scale, entry.zeroPoint = quantisation.scale, quantisation.zero_point
    entry.quantizedDimension = quantisation.axis
    return entry
