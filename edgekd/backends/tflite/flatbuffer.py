"""Serialisation: tensors, ops and buffers as a TFLite flatbuffer, the same bytes for the same graph."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Quantisation, Tensor
from edgekd.errors import BadInputError

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int32": schema.TensorType.INT32,
    "bool": schema.TensorType.BOOL,
}
INT8_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEPTH_TO_SPACE": 1,
    "FULLY_CONNECTED": 4,
    "HARD_SWISH": 1,
    "PRELU": 1,
    "RESHAPE": 1,
    "TRANSPOSE_CONV": 4,
}
FLOAT_VERSIONS = {"TRANSPOSE_CONV": 4}  # with a bias and an activation
LAST_CODE_OF_OLD_READERS = 127
BUFFER_ALIGNMENT = 16
MINIMUM_RUNTIME = "2.14.0"  # tflite-runtime, the oldest runtime that the runner takes


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """Kernels and TFLite-Micro map buffers in place: the schema asks for 16-byte alignment, its Python does not."""

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.data = data

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


@dataclass(frozen=True)
class Op:
    """One TFLite op by the names of its tensors; an input of "" is an absent optional one."""

    code: str
    inputs: list[str]
    output: str
    options: Any
    others: tuple[str, ...] = ()

    @property
    def made(self) -> tuple[str, ...]:
        """All that it makes."""
        return (self.output, *self.others)


def serialise(ops: list[Op], tensor: Callable[[str], Tensor], inputs: list[str], outputs: list[str]) -> bytes:
    """A file of these ops, the tensors that they name, and one signature, `serving_default`."""
    names = dict.fromkeys([*inputs, *(name for op in ops for name in (*op.inputs, *op.made) if name), *outputs])
    indices = {name: index for index, name in enumerate(names)}
    tensors = {name: tensor(name) for name in names}
    versions = [_version(op, tensors) for op in ops]
    codes = list(dict.fromkeys((op.code, version) for op, version in zip(ops, versions, strict=True)))
    model = schema.ModelT()
    model.version, model.description = 3, "edgekd"
    model.buffers = [schema.BufferT()]  # buffer 0 means "no data"
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.inputs, graph.outputs = ([indices[name] for name in side] for side in (inputs, outputs))
    graph.operators = [_operator(op, indices, codes.index((op.code, v))) for op, v in zip(ops, versions, strict=True)]
    stored: dict[bytes, int] = {}
    graph.tensors = [_tensor(tensors[name], model.buffers, stored) for name in names]
    model.subgraphs = [graph]
    model.operatorCodes = [_operator_code(code, version) for code, version in codes]
    model.signatureDefs = [_signature(indices, inputs, outputs)]
    model.metadata = [_minimum_runtime(model.buffers)]
    return pack(model)


def unpack(content: bytes) -> schema.ModelT:
    """A .tflite file as objects."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def pack(model: schema.ModelT) -> bytes:
    """A .tflite file of these objects."""
    model.buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _version(op: Op, tensors: dict[str, Tensor]) -> int:
    integer = any(name and tensors[name].dtype == np.int8 for name in (*op.inputs, op.output))
    return INT8_VERSIONS.get(op.code, 2) if integer else FLOAT_VERSIONS.get(op.code, 1)


def _operator(op: Op, indices: dict[str, int], code: int) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.inputs = [indices[name] if name else -1 for name in op.inputs]
    operator.outputs = [indices[name] for name in op.made]
    operator.opcodeIndex = code
    if op.options is not None:
        operator.builtinOptions = op.options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(op.options).__name__.removesuffix("T"))
    return operator


def _signature(indices: dict[str, int], inputs: list[str], outputs: list[str]) -> schema.SignatureDefT:
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs = [_mapped(name, indices[name]) for name in inputs]
    signature.outputs = [_mapped(name, indices[name]) for name in outputs]
    return signature


def _mapped(name: str, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def _minimum_runtime(buffers: list[schema.BufferT]) -> schema.MetadataT:
    """Tools look for this entry; it holds a string of 16 bytes."""
    entry = schema.MetadataT()
    entry.name, entry.buffer = "min_runtime_version", len(buffers)
    buffer = schema.BufferT()
    buffer.data = MINIMUM_RUNTIME.encode().ljust(16, b"\0")
    buffers.append(buffer)
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


def _tensor(tensor: Tensor, buffers: list[schema.BufferT], stored: dict[bytes, int]) -> schema.TensorT:
    """Tensors that hold the same bytes share a buffer, as the steps of an unrolled layer share its weights."""
    entry = schema.TensorT()
    entry.name, entry.type, entry.hasRank = tensor.name, _type(tensor), True
    entry.shape = np.asarray(tensor.shape, np.int32)
    if -1 in tensor.signature:
        entry.shapeSignature = np.asarray(tensor.signature, np.int32)
    if tensor.quantisation is not None:
        entry.quantization = _quantisation(tensor.quantisation)
    if tensor.data is not None:
        data = np.ascontiguousarray(tensor.data).tobytes()
        entry.buffer = stored.setdefault(data, len(buffers))
        if entry.buffer == len(buffers):
            buffer = schema.BufferT()
            buffer.data = data
            buffers.append(buffer)
    return entry


def _quantisation(quantisation: Quantisation) -> schema.QuantizationParametersT:
    entry = schema.QuantizationParametersT()
    entry.scale, entry.zeroPoint = quantisation.scale, quantisation.zero_point
    entry.quantizedDimension = quantisation.axis if len(quantisation.scale) > 1 else 0
    return entry
