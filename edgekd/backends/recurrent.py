"""LSTM, GRU and RNN written as one round of products, sums and activations a step (ONNX's own formulas)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from edgekd.backends.shapes import StaticShapes
from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array, Graph, NodeWriter, attribute, label

DEFAULT = {"GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "RNN": ["Tanh"]}
RECURRENT = frozenset(DEFAULT)
MOST_STEPS = 512
STEPS, WEIGHT, RECURRENT_WEIGHT, BIAS, LENGTHS, STATE, CELL, PEEPHOLES = range(8)  # operands


def unroll(graph: Graph, static: StaticShapes, where: Callable[[NodeProto], bool] = lambda _: True) -> None:
    """Replace every recurrent node, or some; raise BadInputError for one of unknown steps, or that has no such form.

    Weights may be computed from constants and sizes, as torch writes them.
    """
    for node in [node for node in graph.nodes if node.op_type in RECURRENT and where(node)]:
        _require_plain(node)
        if node.input[STEPS] not in static.shapes:
            raise BadInputError(f"{_named(node)}: the number of its steps is not known: give its input a fixed length")
        steps = static.shapes[node.input[STEPS]][0][0]
        if steps > MOST_STEPS:
            raise BadInputError(f"{_named(node)}: {steps} steps are more than the {MOST_STEPS} that are unrolled")
        graph.remove(node)
        _replace(graph, node, steps, static.values)


def has_peepholes(node: NodeProto) -> bool:
    """Whether the gates of an LSTM look at its cell."""
    return node.op_type == "LSTM" and len(node.input) > PEEPHOLES and bool(node.input[PEEPHOLES])


def _named(node: NodeProto) -> str:
    return f"node {label(node)!r} ({node.op_type})"


def _require_plain(node: NodeProto) -> None:
    kinds = [kind.decode() for kind in attribute(node, "activations", [])]
    repeated = DEFAULT[node.op_type] * (2 if attribute(node, "direction", b"forward") == b"bidirectional" else 1)
    reasons = {
        "sequence_lens": len(node.input) > LENGTHS and bool(node.input[LENGTHS]),
        "other activations": bool(kinds) and kinds != repeated,
        "clip": attribute(node, "clip") is not None,
        "input_forget": bool(attribute(node, "input_forget", 0)),
        "layout = 1": bool(attribute(node, "layout", 0)),
    }
    unknown = [reason for reason, given in reasons.items() if given]
    if unknown:
        raise BadInputError(f"{_named(node)}: {unknown[0]} is not written out step by step: export without it")


def _replace(graph: Graph, node: NodeProto, steps: int, values: Mapping[str, Array]) -> None:
    direction = attribute(node, "direction", b"forward")
    backwards = {b"forward": [False], b"reverse": [True], b"bidirectional": [False, True]}[direction]
    ways = [_Direction(graph, node, index, values).run(steps, reverse) for index, reverse in enumerate(backwards)]
    write = NodeWriter(graph, label(node))
    outputs = [*node.output, "", "", ""][:3]
    if outputs[0]:
        sequences = [write("Concat", *[write("Unsqueeze", h, axes([0])) for h in way.states], axis=0) for way in ways]
        lifted = [write("Unsqueeze", sequence, axes([1])) for sequence in sequences]
        write("Concat", *lifted, axis=1, into=outputs[0])
    for edge, lasts in zip(outputs[1:], ([way.last for way in ways], [way.cell for way in ways]), strict=True):
        if edge:
            write("Concat", *[write("Unsqueeze", last, axes([0])) for last in lasts], axis=0, into=edge)


@dataclass(frozen=True)
class _Unrolled:
    """The state after each step in the order of time, after the last step taken, and the cell then."""

    states: list[str]
    last: str
    cell: str


def axes(values: list[int]) -> Array:
    """A constant operand of axes or limits."""
    return np.array(values, np.int64)


class _Direction:
    """One direction of a recurrent node; weights are one row of products a gate, in the order of ONNX."""

    def __init__(self, graph: Graph, node: NodeProto, index: int, values: Mapping[str, Array]) -> None:
        self.node, self.index, self.values = node, index, values
        self.write = NodeWriter(graph, label(node))
        self.given, self.recurrent = (self._held(operand, "weights") for operand in (WEIGHT, RECURRENT_WEIGHT))
        self.size = self.recurrent.shape[1]
        biased = len(node.input) > BIAS and bool(node.input[BIAS])
        bias = self._held(BIAS, "biases") if biased else np.zeros(2 * len(self.given), np.float32)
        self.given_bias, self.recurrent_bias = np.split(bias, 2)
        seen = self._held(PEEPHOLES, "peepholes") if has_peepholes(node) else np.zeros(0, np.float32)
        self.peepholes = np.split(seen, 3) if seen.any() else []  # of the gates for input, output and forgetting

    def _held(self, operand: int, what: str) -> Array:
        """This direction's part of a constant operand."""
        name = self.node.input[operand]
        if name not in self.values:
            raise BadInputError(f"{_named(self.node)}: its {what} are computed: export them as constants")
        part: Array = self.values[name][self.index].astype(np.float32)
        return part

    def run(self, steps: int, reverse: bool) -> _Unrolled:
        """All steps, the products with what is given at once."""
        bias = self.given_bias if self._resets_late() else np.add(self.given_bias, self.recurrent_bias)
        rows = self.write("Add", self.write("MatMul", self.node.input[STEPS], self.given.T.copy()), bias)
        state, cell, states = self._initial(STATE), self._initial(CELL), {}
        step: Callable[[str, str | None, str | None], tuple[str, str]] = getattr(self, f"_{self.node.op_type.lower()}")
        for time in reversed(range(steps)) if reverse else range(steps):
            row = self.write("Slice", rows, axes([time]), axes([time + 1]), axes([0]))
            state, cell = step(self.write("Squeeze", row, axes([0])), state, cell)
            states[time] = state
        return _Unrolled([states[time] for time in range(steps)], state or "", cell or "")

    def _resets_late(self) -> bool:
        return self.node.op_type == "GRU" and bool(attribute(self.node, "linear_before_reset", 0))

    def _initial(self, operand: int) -> str | None:
        """The state before the first step; None for zeros."""
        name = self.node.input[operand] if len(self.node.input) > operand else ""
        if not name or (name in self.values and not self.values[name].any()):
            return None
        first = self.write("Slice", name, axes([self.index]), axes([self.index + 1]), axes([0]))
        return self.write("Squeeze", first, axes([0]))

    def _gate(self, edge: str, number: int) -> str:
        limits = axes([number * self.size]), axes([(number + 1) * self.size])
        return self.write("Slice", edge, *limits, axes([1]))

    def _product(self, state: str, gates: slice) -> str:
        rows = slice(gates.start * self.size, gates.stop * self.size)
        return self.write("MatMul", state, self.recurrent[rows].T.copy())

    def _rnn(self, row: str, state: str | None, _: str | None) -> tuple[str, str]:
        total = self.write("Add", row, self._product(state, slice(0, 1))) if state else row
        return self.write("Tanh", total), ""

    def _lstm(self, row: str, state: str | None, cell: str | None) -> tuple[str, str]:
        total = self.write("Add", row, self._product(state, slice(0, 4))) if state else row
        enter, forget = (self.write("Sigmoid", self._seeing(self._gate(total, each), each, cell)) for each in (0, 2))
        new = self.write("Mul", enter, self.write("Tanh", self._gate(total, 3)))
        cell = self.write("Add", self.write("Mul", forget, cell), new) if cell else new
        leave = self.write("Sigmoid", self._seeing(self._gate(total, 1), 1, cell))
        return self.write("Mul", leave, self.write("Tanh", cell)), cell

    def _seeing(self, gate: str, number: int, cell: str | None) -> str:
        """A gate that looks at the cell through its peephole, if it has one."""
        if cell is None or not self.peepholes:
            return gate
        return self.write("Add", gate, self.write("Mul", cell, self.peepholes[number]))

    def _gru(self, row: str, state: str | None, _: str | None) -> tuple[str, str]:
        gates = [self._gate(row, number) for number in range(3)]
        late = self.recurrent_bias if self._resets_late() else None
        if state is not None:
            both = self._product(state, slice(0, 2))
            gates[:2] = [self.write("Add", gates[number], self._gate(both, number)) for number in range(2)]
        if late is not None:
            gates[:2] = [
                self.write("Add", gates[number], late[number * self.size : (number + 1) * self.size])
                for number in range(2)
            ]
        update, reset = (self.write("Sigmoid", gate) for gate in gates[:2])
        new = self.write("Tanh", self._candidate(gates[2], reset, state, late))
        kept = self.write("Mul", self.write("Sub", np.ones(1, np.float32), update), new)
        return (self.write("Add", kept, self.write("Mul", update, state)) if state else kept), ""

    def _candidate(self, gate: str, reset: str, state: str | None, late: Array | None) -> str:
        """What the new state would be but for the update gate, before its activation."""
        if late is None:
            return (
                self.write("Add", gate, self._product(self.write("Mul", reset, state), slice(2, 3))) if state else gate
            )
        bias = late[2 * self.size :]
        inner: str | Array = self.write("Add", self._product(state, slice(2, 3)), bias) if state else bias
        return self.write("Add", gate, self.write("Mul", reset, inner))
