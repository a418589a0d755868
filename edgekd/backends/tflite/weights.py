"""Weights in fewer bits than the arithmetic: float16, and dynamic range (int8 weights, activations in float)."""

from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.compiled import Precision
from edgekd.backends.tflite.flatbuffer import Op
from edgekd.backends.tflite.graph import Array, Quantisation
from edgekd.backends.tflite.writer import Writer
from edgekd.quantization.ranges import quantize_weight, weight_scale
from edgekd.quantization.scheme import find_scheme

SCHEME = find_scheme("int8-asymmetric")  # of the weights: one scale per output, symmetric
LEAST_ELEMENTS = 1024  # below, quantising the input costs more than the weights save
HYBRID = ("CONV_2D", "FULLY_CONNECTED")  # of DEPTHWISE_CONV_2D, XNNPACK has no hybrid kernel


def narrow(writer: Writer, precision: Precision) -> None:
    """Rewrite what the rules emitted so that constants take fewer bytes; other precisions stay as they are."""
    if precision == "float16":
        writer.ops = list(_halved(writer))
    elif precision == "dynamic-range":
        writer.ops = [hybrid for op in writer.ops for hybrid in _hybrid(writer, op)]


def _halved(writer: Writer) -> Iterator[Op]:
    """Constants as float16, which one DEQUANTIZE each widens: delegates do that once, before the first inference."""
    widened = set()
    for op in writer.ops:
        for name in op.inputs:
            if name and name not in widened and _fits_half(writer.tensor(name).data):
                widened.add(name)
                yield _widening(writer, name)
        yield Op(op.code, [_wide(name) if name in widened else name for name in op.inputs], op.output, op.options)


def _fits_half(data: Array | None) -> bool:
    """Scalars (an epsilon, a bound) keep their bits; so does what is out of range."""
    if data is None or data.dtype != np.float32 or data.size < 2:
        return False
    return bool(np.abs(data).max() <= np.finfo(np.float16).max)


def _widening(writer: Writer, name: str) -> Op:
    data = writer.tensor(name).data
    assert data is not None
    half = writer.constant(f"{name}:half", data.astype(np.float16))
    return Op("DEQUANTIZE", [half], writer.like(name, _wide(name)), schema.DequantizeOptionsT())


def _wide(name: str) -> str:
    return f"{name}:wide"


def _hybrid(writer: Writer, op: Op) -> Iterator[Op]:
    """Layers read int8 weights and quantise their input themselves; tables are read as int8 rows."""
    weight = writer.tensor(op.inputs[1 if op.code in HYBRID else 0]).data if op.inputs[0] else None
    large = weight is not None and weight.dtype == np.float32 and weight.size >= LEAST_ELEMENTS
    if weight is None or not large or op.code not in (*HYBRID, "GATHER"):
        yield op
    elif op.code == "GATHER":
        yield from _rows(writer, op, weight)
    else:
        if op.code == "FULLY_CONNECTED":
            op.options.asymmetricQuantizeInputs = True
        name = _stored(writer, op.inputs[1], weight)
        yield Op(op.code, [op.inputs[0], name, *op.inputs[2:]], op.output, op.options)


def _stored(writer: Writer, name: str, weight: Array) -> str:
    scale = weight_scale(weight, 0, SCHEME)
    quantisation = Quantisation(scale, np.zeros(scale.size, np.int64))
    return writer.constant(f"{name}:int8", quantize_weight(weight, scale, 0, SCHEME), quantisation)


def _rows(writer: Writer, op: Op, table: Array) -> Iterator[Op]:
    """Rows as integers, times the scale of each row: GATHER itself knows one scale for all."""
    if op.options.axis != 0 or table.ndim != 2:
        yield op
        return
    name, indices = op.output, op.inputs[1]
    scale = weight_scale(table, 0, SCHEME)
    stored = writer.constant(f"{op.inputs[0]}:int8", quantize_weight(table, scale, 0, SCHEME))
    scales = writer.constant(f"{op.inputs[0]}:scales", scale[:, None])
    made = writer.tensor(name)
    sizes = {"shape": (*made.shape[:-1], 1), "signature": (*made.signature[:-1], 1)}
    integers = writer.like(name, f"{name}:integers", dtype=np.dtype(np.int8))
    yield Op("GATHER", [stored, indices], integers, op.options)
    yield Op("GATHER", [scales, indices], writer.like(name, f"{name}:steps", **sizes), op.options)
    yield Op("CAST", [integers], writer.like(name, f"{name}:whole"), schema.CastOptionsT())
    yield Op("MUL", [f"{name}:whole", f"{name}:steps"], name, schema.MulOptionsT())
