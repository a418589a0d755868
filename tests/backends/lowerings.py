"""What backends write of small graphs, as text; `python -m tests.backends.lowerings` writes `lowered/` anew."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekd.errors import BadInputError
from tests import factories
from tests.backends.ncnn import harness as ncnn
from tests.backends.tflite import harness as tflite
from tests.backends.tflite.op_cases import FLOAT, INT8
from tests.kept_text import keep, numbers

FOLDER = Path(__file__).with_name("lowered")
SEEDS = range(3)
MOST = 120  # lines: what a net of many steps is written as says the same again and again
Array = np.ndarray[Any, Any]
Make = Callable[[], onnx.ModelProto]
Told = Callable[[onnx.ModelProto, Any], Iterator[str]]


def graphs(symmetric: bool) -> Iterator[tuple[str, str, Make]]:
    """Name and precision of each graph, and what makes it."""
    for op in sorted({**FLOAT, **INT8}):
        for seed in SEEDS:
            yield f"{op}, {seed}", "float", partial(_float, op, seed)
            if op in INT8:
                yield f"{op}, {seed}", "int8", partial(_int8, op, seed, symmetric)
    for net, make in factories.WHOLE_NETS.items():
        yield net, "int8", lambda make=make: factories.quantize(*make(0), symmetric=symmetric)


def _float(op: str, seed: int) -> onnx.ModelProto:
    net, output = {**FLOAT, **INT8}[op](seed)
    return net.model(output)


def _int8(op: str, seed: int, symmetric: bool) -> onnx.ModelProto:
    net, output = INT8[op](seed)
    return factories.quantize(net.model(output), net.inputs(64), symmetric=symmetric)


def of_tflite(model: onnx.ModelProto, precision: Any) -> Iterator[str]:
    """Operators with their options and tensors by number, then the tensors."""
    built = tflite.build(model, precision)
    file = schema.ModelT.InitFromObj(schema.Model.GetRootAs(built.content))
    for name, op in zip(built.ops, built.graph.operators, strict=True):
        told = "".join(f" {key}={value}" for key, value in _fields(op.builtinOptions) if value)
        version = file.operatorCodes[op.opcodeIndex].version
        yield f"{name} {version}{told} {list(map(int, op.inputs))} -> {list(map(int, op.outputs))}"
    kinds = {kind: name for name, kind in vars(schema.TensorType).items() if not name.startswith("_")}
    for number, tensor in enumerate(built.graph.tensors):
        kind, signature = kinds[tensor.type], tensor.shapeSignature
        told = f"{number} {tensor.name.decode()!r} {kind} {_sizes(tensor.shape)}"
        told += "" if signature is None else f" as {_sizes(signature)}"
        steps = tensor.quantization
        if steps is not None and steps.scale is not None:
            told += f" steps along {steps.quantizedDimension}: {numbers(steps.scale)}"
        data = file.buffers[tensor.buffer].data
        dtype = {"FLOAT32": np.float32, "INT8": np.int8, "INT32": np.int32}.get(kind, np.uint8)
        yield told if data is None else f"{told} holds {numbers(np.frombuffer(bytes(data), dtype))}"
    yield f"{len(file.buffers)} buffers"


def of_ncnn(model: onnx.ModelProto, precision: Any) -> Iterator[str]:
    """The .param file, and what the other holds."""
    built = ncnn.build(model, precision)
    yield from built.text.splitlines()[1:]
    floats = precision == "float"
    yield f"holds {numbers(np.frombuffer(built.content, np.float32))}" if floats else f"{len(built.content)} bytes"


def _fields(options: Any) -> Iterator[tuple[str, Any]]:
    for key in dir(options):
        value = getattr(options, key)
        if not key.startswith("_") and not callable(value):
            yield key, value.tolist() if isinstance(value, np.ndarray) else value


def _sizes(shape: Any) -> str:
    return "x".join(map(str, shape)) or "one"


def told(tell: Told, symmetric: bool) -> Iterator[tuple[str, list[str]]]:
    """Of each graph its name and its lines: one, of the refusal, for what the backend does not take."""
    for name, precision, make in graphs(symmetric):
        try:
            lines = list(tell(make(), precision))
        except BadInputError as error:
            lines = [f"refused: {error}"]
        if len(lines) <= MOST:
            yield f"{name}, {precision}", lines


BACKENDS: dict[str, tuple[Told, bool]] = {"tflite": (of_tflite, False), "ncnn": (of_ncnn, True)}


if __name__ == "__main__":
    for backend, (tell, symmetric) in BACKENDS.items():
        keep(told(tell, symmetric), FOLDER / f"{backend}.txt")
