"""Loops that run a constant number of times, written out, as torch.jit exports `for` over a known range."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from edgekd.onnx_graph import Array

STEPS, NODES = 512, 20_000  # of one loop, and of all that it is written out to


def unrolled(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the loops of its main graph whose number of steps and condition are constant; others stay.

    What a loop collects is joined at the end. A body that holds graphs of its own stays a loop.
    """
    known = dict(_constants(model.graph))
    trips = [_trips(node, known) for node in model.graph.node]
    if not any(trips):
        return model
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:]
    for node, count in zip(model.graph.node, trips, strict=True):
        plain.graph.node.extend([node] if count is None else _Unrolling(plain.graph, node, count).nodes())
    return plain


def _constants(graph: onnx.GraphProto) -> Iterator[tuple[str, Array]]:
    """Small constants by name: initialisers and Constant nodes."""
    for tensor in graph.initializer:
        if len(tensor.dims) < 2 and sum(tensor.dims) <= 1:
            yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        for entry in node.attribute if node.op_type == "Constant" and node.output else ():
            if entry.name == "value" and len(entry.t.dims) < 2 and sum(entry.t.dims) <= 1:
                yield node.output[0], numpy_helper.to_array(entry.t)


def _trips(node: NodeProto, known: Mapping[str, Array]) -> int | None:
    """How often a Loop runs, if that is a constant within the limits, and it can be written out."""
    body = next((entry.g for entry in node.attribute if entry.name == "body"), None) if node.op_type == "Loop" else None
    if body is None or len(node.input) < 2 or len(body.input) != len(node.input) or not body.output:
        return None
    carried = len(node.input) - 2
    trips, goes_on = known.get(node.input[0]), not node.input[1] or _holds(known.get(node.input[1]))
    if trips is None or not goes_on or not 0 < int(trips.reshape(-1)[0]) <= STEPS:
        return None
    count = int(trips.reshape(-1)[0])
    nested = any(entry.HasField("g") or entry.graphs for inner in body.node for entry in inner.attribute)
    fits = count * len(body.node) <= NODES and len(node.output) <= len(body.output) - 1 >= carried
    return count if fits and not nested and _goes_on(body) else None


def _goes_on(body: onnx.GraphProto) -> bool:
    """Whether a body never ends its loop: its condition is the one that it was given, or true."""
    condition, makers = body.output[0].name, {name: node for node in body.node for name in node.output}
    while condition in makers and makers[condition].op_type in {"Identity", "Cast"}:
        condition = makers[condition].input[0]
    return condition == body.input[1].name or _holds(dict(_constants(body)).get(condition))


def _holds(value: Array | None) -> bool:
    return value is not None and bool(value.size) and bool(np.all(value))


@dataclass
class _Unrolling:
    """One loop, written out into a graph that gets its constants."""

    graph: onnx.GraphProto
    loop: NodeProto
    trips: int
    stored: set[str] = field(default_factory=set)
    taken: frozenset[str] = frozenset()

    def nodes(self) -> Iterator[NodeProto]:
        """The body's nodes, step after step, then what hands its results on."""
        body = next(entry.g for entry in self.loop.attribute if entry.name == "body")
        outer = {tensor.name: self._constant(tensor.name, numpy_helper.to_array(tensor)) for tensor in body.initializer}
        self.taken = frozenset(outer.values())
        carried = list(self.loop.input[2:])
        collected: list[list[str]] = [[] for _ in body.output[1 + len(carried) :]]
        for step in range(self.trips):
            names = {body.input[0].name: self._constant(f"{step}", np.array(step, np.int64))}
            names |= {body.input[1].name: self._constant("goes_on", np.array(True))}
            names |= dict(zip((value.name for value in body.input[2:]), carried, strict=True)) | outer
            for node in body.node:
                yield self._renamed(node, step, names)
            made = [names.get(value.name, value.name) for value in body.output[1:]]
            carried = made[: len(carried)]
            for rows, name in zip(collected, made[len(carried) :], strict=True):
                rows.append(name)
        yield from self._results(carried, collected)

    def _renamed(self, node: NodeProto, step: int, names: dict[str, str]) -> NodeProto:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = self._own(f"{step}.{node.name}") if node.name else ""
        copy.input[:] = [names.get(name, name) for name in node.input]
        names |= {name: self._own(f"{step}.{name}") for name in node.output if name}
        copy.output[:] = [names.get(name, name) for name in node.output]
        return copy

    def _results(self, carried: list[str], collected: list[list[str]]) -> Iterator[NodeProto]:
        finals, joined = self.loop.output[: len(carried)], self.loop.output[len(carried) :]
        for name, value in zip(finals, carried, strict=False):
            if name:
                yield helper.make_node("Identity", [value], [name])
        axis = self._constant("axis", np.array([0]))
        for name, rows in zip(joined, collected, strict=False):
            raised = [self._own(f"row.{number}.{name}") for number in range(len(rows))]
            for value, row in zip(rows, raised, strict=True):
                yield helper.make_node("Unsqueeze", [value, axis], [row])
            yield helper.make_node("Concat", raised, [name], axis=0)

    def _constant(self, name: str, value: Array) -> str:
        own = self._own(name)
        if own not in self.stored:
            self.stored.add(own)
            self.graph.initializer.append(numpy_helper.from_array(value, own))
        return own

    def _own(self, name: str) -> str:
        own = f"{self.loop.name or self.loop.output[0]}/{name}"
        while own in self.taken:
            own += "_"
        return own
