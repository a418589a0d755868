"""Functions that exporters spell in several operations, found by what they compute and given their one ONNX word."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from edgekd.onnx_graph import Array, Graph
from edgekd.onnx_node import evaluate

OLDEST, OPSET = 18, 20  # the first that takes axes as an operand, the first that has Gelu
REFORMED = frozenset({"DFT", "GridSample"})  # written otherwise in opset 20 than in 18
BENDING = frozenset({"Clip", "Erf", "Exp", "HardSigmoid", "Max", "Min", "Relu", "Sigmoid", "Softplus", "Tanh"})
ELEMENTWISE = BENDING | {"Abs", "Add", "Div", "Identity", "Mul", "Neg", "Pow", "Reciprocal", "Sqrt", "Sub"}
MOST = 16  # operations that one function is spelled in
FAR = np.geomspace(12, 1e4, 25)  # where a function may be cut off
GRID = np.concatenate([-FAR, np.linspace(-12, 12, 1201), FAR]).astype(np.float32)
CLOSE = 5e-5  # GELU and its form by tanh, the nearest two, are 4.7e-4 apart
ROUNDING = 1e-6  # of float32
LARGEST_EPSILON = 0.01
ROWS = 24


@dataclass(frozen=True)
class Region:
    """Operations with one way in, `source`, and one way out, `result`, in the order of data flow."""

    nodes: tuple[NodeProto, ...]
    source: str
    result: str

    @property
    def kinds(self) -> frozenset[str]:
        """The words of its operations."""
        return frozenset(node.op_type for node in self.nodes)


@dataclass(frozen=True)
class Word:
    """One ONNX operation that computes a region: its kind, constant operands behind the first, and attributes."""

    kind: str
    operands: tuple[Array, ...]
    attributes: dict[str, Any]


def name_functions(graph: Graph) -> None:
    """Write GELU (by erf or tanh), HardSwish, HardSigmoid and LayerNormalization as one operation, however spelled.

    The largest region that computes one wins. Shapes must be inferred; a graph before opset 18 stays as it is.
    """
    if graph.opset < OLDEST or {node.op_type for node in graph.nodes} & REFORMED:
        return
    gone: set[int] = set()
    for last in reversed(graph.nodes):
        found = None if id(last) in gone else next(_matches(graph, last), None)
        if found is not None:
            region, word = found
            gone.update(id(node) for node in region.nodes)
            _rewrite(graph, region, word)


def _matches(graph: Graph, last: NodeProto) -> Iterator[tuple[Region, Word]]:
    """The regions that end at a node and have a word, the largest first."""
    for region in reversed(list(_regions(graph, last))):
        if graph.types.get(region.source, TensorProto.FLOAT) != TensorProto.FLOAT:
            continue  # such as places that are clamped
        word = _activation(graph, region) or _layer_norm(graph, region)
        if word is not None:
            yield region, word


def _rewrite(graph: Graph, region: Region, word: Word) -> None:
    for node in region.nodes:
        graph.remove(node)
    operands = [graph.add_constant(f"{region.result}_{word.kind}", value) for value in word.operands]
    node = graph.add(word.kind, [region.source, *operands], region.result, **word.attributes)
    node.name = region.nodes[-1].name or node.name
    if word.kind == "Gelu":
        graph.raise_opset(OPSET)


def _regions(graph: Graph, last: NodeProto) -> Iterator[Region]:
    """From small to large: wherever all that is read behind it comes from one edge, and nothing inside is seen outside.

    The operations before `last` are taken in one by one, those that others inside read after they were taken.
    """
    inside: dict[int, NodeProto] = {}
    waiting = [last]
    while waiting and len(inside) < MOST:
        node = next((node for node in waiting if _only_read_inside(graph, node, inside)), None)
        if node is None or node.op_type not in ELEMENTWISE | {"ReduceMean"}:
            return
        inside[id(node)] = node
        entries = _entries(graph, inside)
        if len(entries) == 1 and len(inside) > 1:
            yield Region(tuple(reversed(inside.values())), entries.copy().pop(), last.output[0])
        makers = [maker for edge in sorted(entries) if (maker := graph.producer(edge)) is not None]
        waiting = list({id(maker): maker for maker in makers}.values())


def _only_read_inside(graph: Graph, node: NodeProto, inside: dict[int, NodeProto]) -> bool:
    if not inside:
        return len(node.output) == 1
    readers = {id(reader) for edge in node.output for reader in graph.consumers(edge)}
    return readers <= inside.keys() and not set(node.output) & set(graph.outputs)


def _entries(graph: Graph, inside: dict[int, NodeProto]) -> set[str]:
    made = {edge for node in inside.values() for edge in node.output}
    read = {edge for node in inside.values() for edge in node.input if edge}
    return read - made - graph.constants.keys()


def _computed(graph: Graph, region: Region, values: Array) -> Array:
    known = {region.source: values}
    for node in region.nodes:
        feeds = {name: known[name] if name in known else graph.constants[name] for name in node.input if name}
        with np.errstate(all="ignore"):
            known |= evaluate(node, feeds)
    return known[region.result]


def _constants(graph: Graph, region: Region) -> list[Array]:
    names = {name for node in region.nodes for name in node.input if name in graph.constants}
    return [graph.constants[name] for name in sorted(names)]


def _activation(graph: Graph, region: Region) -> Word | None:
    """The function of one number that a region computes."""
    if not region.kinds & BENDING or not region.kinds <= ELEMENTWISE:
        return None
    if any(value.size != 1 for value in _constants(graph, region)):
        return None
    seen = _computed(graph, region, GRID).ravel()
    same = (word for word, wanted in ACTIVATIONS if np.allclose(seen, wanted(GRID), rtol=ROUNDING, atol=CLOSE))
    return next(same, None)


def _gelu(x: Array) -> Array:
    gelu: Array = x * np.array([1 + math.erf(value * 0.5**0.5) for value in x]) / 2
    return gelu


def _gelu_by_tanh(x: Array) -> Array:
    gelu: Array = x * (1 + np.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2
    return gelu


def _hard_sigmoid(x: Array) -> Array:
    return np.clip(x / 6 + 0.5, 0, 1)


ACTIVATIONS: tuple[tuple[Word, Callable[[Array], Array]], ...] = (
    (Word("Gelu", (), {"approximate": "none"}), _gelu),
    (Word("Gelu", (), {"approximate": "tanh"}), _gelu_by_tanh),
    (Word("HardSwish", (), {}), lambda x: x * _hard_sigmoid(x)),
    (Word("HardSigmoid", (), {"alpha": 1 / 6, "beta": 0.5}), _hard_sigmoid),
)


def _layer_norm(graph: Graph, region: Region) -> Word | None:
    """A normalisation over the last axis, with the gain and the shift per channel that follow it."""
    shape = graph.shapes.get(region.source)
    if "ReduceMean" not in region.kinds or not shape or not shape[-1] or shape[-1] < 2:
        return None
    channels, values = shape[-1], _constants(graph, region)
    if not all(value.size == 1 or value.size == channels == value.shape[-1] for value in values):
        return None
    rows = np.random.default_rng(0).normal(0, 1, (ROWS, channels)) * np.geomspace(0.01, 100, ROWS)[:, None]
    given = rows.astype(np.float32).reshape(*[1] * (len(shape) - 2), ROWS, channels)
    seen = _computed(graph, region, given)
    if seen.shape != given.shape:
        return None
    small = [float(value.item()) for value in values if value.size == 1]
    for epsilon in sorted({value for value in small if 0 < value <= LARGEST_EPSILON}):
        word = _normalised(rows, seen.reshape(rows.shape), epsilon, values)
        if word is not None:
            return word
    return None


def _normalised(rows: Array, seen: Array, epsilon: float, values: list[Array]) -> Word | None:
    """The word for `seen`, if it is `rows` normalised with this epsilon, then scaled and shifted by channel."""
    spread = np.sqrt(rows.var(axis=1, keepdims=True) + epsilon)
    plain = (rows - rows.mean(axis=1, keepdims=True)) / spread
    centred = plain - plain.mean(axis=0)
    gain = (centred * seen).sum(axis=0) / (centred**2).sum(axis=0)
    shift = (seen - gain * plain).mean(axis=0)
    largest = np.abs(seen).max()
    gain, shift = (_as_written(fitted, values, 1e-3 * largest) for fitted in (gain, shift))
    apart = np.abs(seen - (gain * plain + shift)).max()
    if not apart <= CLOSE * 10 * largest:
        return None
    operands = (gain, shift) if shift.any() else (gain,)
    return Word("LayerNormalization", operands, {"axis": -1, "epsilon": epsilon})


def _as_written(fitted: Array, values: list[Array], allowed: float) -> Array:
    """The model's own constant where one is meant, else what was fitted."""
    known = [np.broadcast_to(value.ravel(), fitted.shape) for value in values]
    known += [np.ones(fitted.shape), np.zeros(fitted.shape)]
    nearest = min(known, key=lambda value: np.abs(value - fitted).max())
    return np.asarray(nearest if np.abs(nearest - fitted).max() <= allowed else fitted, np.float32)
