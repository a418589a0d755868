"""Models of the microcontroller backend, run by TFLite-Micro and by LiteRT's reference kernels."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro.python.tflite_micro import runtime

from edgekd.backends.compiled import Compiled
from edgekd.backends.conversion import to_bundle
from edgekd.backends.tflite.convert import convert
from edgekd.backends.tflm.compile import compile as compile_tflm
from edgekd.target import load_target

Array = np.ndarray[Any, Any]
TARGET = load_target("tflm-cortex-m")
ROOMY = 1 << 26  # bytes of arena


def compiled(model: onnx.ModelProto, folder: Path) -> tuple[Compiled, bytes]:
    """What the backend says of a QDQ model, and the file that it wrote."""
    made = compile_tflm(model, TARGET, folder, "int8")
    return made, (folder / made.model).read_bytes()


def untrimmed(model: onnx.ModelProto) -> bytes:
    """The same model as LiteRT opens it."""
    return convert(model, TARGET, "int8", fixed_batch=True).content


def by_micro(content: bytes, stored: Array, arena: int = ROOMY) -> list[Array]:
    """All outputs for stored int8 inputs, samples first."""
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)

    def infer(sample: Array) -> list[Array]:
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        return [interpreter.get_output(index).copy() for index in range(outputs)]

    outputs = int(runtime.convert_bytearray_to_object(content).subgraphs[0].outputs.size)
    return [np.concatenate(parts) for parts in zip(*map(infer, stored), strict=True)]


def by_reference_kernels(content: bytes, stored: Array, tensors: list[int] | None = None) -> list[Array]:
    """All outputs, or some tensors by index, of LiteRT with its reference kernels."""
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    wanted = tensors or [detail["index"] for detail in interpreter.get_output_details()]

    def infer(sample: Array) -> list[Array]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None])
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in wanted]

    return [np.concatenate(parts) for parts in zip(*map(infer, stored), strict=True)]


def both(model: onnx.ModelProto, x: Array) -> tuple[list[Array], list[Array]]:
    """What TFLite-Micro makes of the trimmed file, and LiteRT's reference kernels of the whole one."""
    with TemporaryDirectory() as folder:
        made, content = compiled(model, Path(folder))
    stored = to_bundle(made.inputs[0], x)
    return by_micro(content, stored), by_reference_kernels(untrimmed(model), stored)
