"""ONNX's Resize along one side: which places are read, and the matrix that weighs them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgekd.backends.tflite.graph import Node
from edgekd.backends.tflite.writer import Writer

Places = NDArray[np.floating[Any]]
ROUNDINGS: dict[bytes, Callable[[Places], Places]] = {
    b"round_prefer_floor": lambda x: np.ceil(x - 0.5),
    b"round_prefer_ceil": lambda x: np.floor(x + 0.5),
    b"floor": np.floor,
    b"ceil": np.ceil,
}


def onnx_places(node: Node, here: int, made: int, scale: float, clipped: bool = True) -> Places:
    """Where in the map each element is read (ONNX's Resize); in float32 as ONNX Runtime, or 10 by 10 / 7 is below 7."""
    x: Places = np.arange(made, dtype=np.float32)
    growth = np.float32(scale)
    convention = node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    if convention == b"align_corners":
        places = x * (here - 1) / (made - 1) if made > 1 else x * 0
    elif convention == b"asymmetric":
        places = x / growth
    elif convention in (b"half_pixel", b"pytorch_half_pixel"):
        places = (x + np.float32(0.5)) / growth - np.float32(0.5)
        if convention == b"pytorch_half_pixel" and made == 1:
            places = x * 0
    else:
        node.refuse(
            f"attribute coordinate_transformation_mode={convention.decode()} has no TFLite form: use half_pixel"
        )
    if node.attributes.get("mode", b"nearest") == b"nearest":
        places = ROUNDINGS[node.attributes.get("nearest_mode", b"round_prefer_floor")](places)
    return np.asarray(np.clip(places, 0, here - 1) if clipped else places, np.float64)


def matrix_of(node: Node, here: int, made: int, scale: float) -> NDArray[np.float32]:
    """(made, here): what each element of a side takes of each that it is made from, linearly or by cubics.

    Antialiased, the kernel is as wide as what an element of a smaller side stands for.
    """
    cubic = node.attributes.get("mode") == b"cubic"
    width = 1.0 if not node.attributes.get("antialias", 0) else max(1.0, 1 / scale)
    kernel = _cubic(node.attributes.get("cubic_coeff_a", -0.75)) if cubic else _linear
    reach, places = int(np.ceil((2 if cubic else 1) * width)), onnx_places(node, here, made, scale, clipped=False)
    taps = np.floor(places)[:, None] + np.arange(1 - reach, reach + 1)
    weights = kernel((taps - places[:, None]) / width)
    if node.attributes.get("exclude_outside", 0):
        weights = np.where((taps >= 0) & (taps < here), weights, 0)
    weights /= weights.sum(1, keepdims=True)
    matrix = np.zeros((made, here))
    np.add.at(matrix, (np.arange(made)[:, None], np.clip(taps, 0, here - 1).astype(int)), weights)
    return matrix.astype(np.float32)


def _linear(distance: Places) -> Places:
    return np.asarray(np.maximum(1 - np.abs(distance), 0))


def _cubic(a: float) -> Callable[[Places], Places]:
    """Keys' kernel."""

    def kernel(distance: Places) -> Places:
        x = np.abs(distance)
        near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((x - 5) * x + 8) * x * a - 4 * a
        return np.asarray(np.where(x <= 1, near, np.where(x < 2, far, 0)))

    return kernel


def by_matrices(writer: Writer, node: Node, sides: list[NDArray[np.float32]]) -> None:
    """Multiply height and width of an NHWC map with a matrix each, in float."""
    rows, columns = sides
    source, made = writer.tensor(node.inputs[0]), writer.tensor(node.output)
    real = {"dtype": np.dtype(np.float32), "quantisation": None}
    given = node.inputs[0]
    if source.quantisation is not None:
        given = writer.step("DEQUANTIZE", [given], f"{node.output}:real", schema.DequantizeOptionsT(), **real)
    wide = writer.transposed(given, f"{node.output}:rows", (0, 1, 3, 2))  # (N, H, C, W)
    wide = _product(writer, wide, f"{node.output}:wide", columns)
    tall = writer.transposed(wide, f"{node.output}:columns", (0, 2, 3, 1))  # (N, C, W, H)
    tall = _product(writer, tall, f"{node.output}:tall", rows)
    if made.quantisation is not None:
        back = writer.transposed(tall, f"{node.output}:back", (0, 3, 2, 1))
        return writer.op("QUANTIZE", [back], node.output, schema.QuantizeOptionsT())
    order = writer.constant(f"{node.output}:order", np.asarray((0, 3, 2, 1), np.int32))
    return writer.op("TRANSPOSE", [tall, order], node.output, schema.TransposeOptionsT())


def _product(writer: Writer, source: str, name: str, matrix: NDArray[np.float32]) -> str:
    tensor, options = writer.tensor(source), schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    shape, signature = ((*sizes[:-1], len(matrix)) for sizes in (tensor.shape, tensor.signature))
    weight = writer.constant(f"{name}:matrix", matrix)
    bias = writer.constant(f"{name}:zeros", np.zeros(len(matrix), np.float32))
    return writer.step("FULLY_CONNECTED", [source, weight, bias], name, options, shape=shape, signature=signature)
