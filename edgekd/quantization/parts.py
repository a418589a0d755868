"""The parts of a network's outputs: boxes, scores and whatever else a Concat has joined there, or classes of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgekd.onnx_graph import QUANTIZERS, Array, Graph, attribute, inferred
from edgekd.quantization.qdq import step_of

UNLIKE = 4.0  # parts whose largest values differ by more are judged apart
MOST = 64  # parts of an output: more are no longer parts
MOVING = 1e-3  # of its largest value: a channel that moves by less is a constant in float, too
PLAIN = QUANTIZERS | {"Identity", "Cast"}
RESHAPED = {"Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose"}
CHOOSING = {"ArgMax", "ArgMin"}


@dataclass(frozen=True)
class Part:
    """Some of an output, by the tensor that it was: `where` is its index there, `step` its quantiser's if any."""

    name: str
    where: tuple[slice, ...]
    step: float | None = None

    def of(self, output: Array) -> Array:
        """Return the part of an output."""
        return output[self.where]


def judged_apart(parts: Sequence[Part], output: Array) -> tuple[Part, ...]:
    """Return the parts of an output if their magnitudes differ; none where the whole speaks for each of them."""
    if output.dtype.kind != "f":
        return ()
    largest = [float(np.abs(part.of(output)).max(initial=0.0)) for part in parts]
    spans = [size for size in largest if size]
    return tuple(parts) if spans and max(spans) > UNLIKE * min(spans) else ()


def lost_channels(reference: Array, unquantized: Array) -> str | None:
    """Return the channels, axis 1 of maps and boxes, that int8 holds constant while they move in float; if most are."""
    if reference.ndim < 3 or reference.shape != unquantized.shape or len(reference) < 2:
        return None
    others = tuple(axis for axis in range(reference.ndim) if axis != 1)
    moving = np.ptp(unquantized, axis=others) > MOVING * np.abs(unquantized).max(axis=others)
    lost = moving & (np.ptp(reference, axis=others) == 0)
    if not 0 < moving.sum() <= 2 * lost.sum():
        return None
    return f"channels {_spelled(np.flatnonzero(lost))} are constant in int8"


def _spelled(numbers: Array) -> str:
    """Return ascending numbers as ranges: 0, 4–83."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def parts_of(model: onnx.ModelProto) -> dict[str, tuple[Part, ...]]:
    """Return the parts of each output that Concats join, in their order; of others, of indices alone the whole."""
    graph = Graph(inferred(model))
    found = {
        name: _parts(graph, name, tuple(slice(None) for _ in graph.shapes.get(name, ()))) for name in graph.outputs
    }
    told = {name: parts for name, parts in found.items() if 1 < len(parts) <= MOST}
    return told | {name: (Part(name, (slice(None),)),) for name in graph.outputs if _chooses(graph, name)}


def _chooses(graph: Graph, edge: str) -> bool:
    maker = graph.producer(edge)
    while maker is not None and maker.op_type in PLAIN | RESHAPED:
        maker = graph.producer(maker.input[0])
    return maker is not None and maker.op_type in CHOOSING


def _parts(graph: Graph, edge: str, where: tuple[slice, ...], step: float | None = None) -> tuple[Part, ...]:
    step = step or step_of(graph, edge)
    maker = graph.producer(edge)
    while maker is not None and maker.op_type in PLAIN:
        edge = maker.input[0]
        maker = graph.producer(edge)
    if maker is None or maker.op_type != "Concat" or not where:
        return (Part(edge, where, step),)
    axis = attribute(maker, "axis") % len(where)
    sizes = [
        size for name in maker.input if (size := (graph.shapes.get(name) or where)[axis]) and isinstance(size, int)
    ]
    if axis == 0 or where[axis] != slice(None) or len(sizes) < len(maker.input):
        return (Part(edge, where, step),)
    stops = np.cumsum(sizes).tolist()
    parts: tuple[Part, ...] = ()
    for name, size, stop in zip(maker.input, sizes, stops, strict=True):
        parts += _parts(graph, name, (*where[:axis], slice(stop - size, stop), *where[axis + 1 :]), step)
    return parts
