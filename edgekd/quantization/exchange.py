"""What a layer costs and wins in float: its own time, what changes between integers and floats around it, less noise.

Decibels of single layers do not add up and a boundary costs more than many a layer saves, so sets are priced: whatever
is no longer rounded counts as won, and each element that changes its type on the way as paid for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from glob import escape
from itertools import chain
from math import prod

from edgekd.onnx_graph import Array, shapes_of
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.graph_ir import Op
from edgekd.quantization.kernels import chain_ends, inner_outputs, weighted
from edgekd.quantization.placement import Placement, place
from edgekd.quantization.scheme import Scheme
from edgekd.quantization.sensitivity import Ranking, Switched, tensor_switch, weight_switch

Steps = tuple[tuple[str, ...], ...]
LONGEST = 3  # neighbours that are tried together: alone, each would pay for both of its boundaries
NEGLIGIBLE = 0.02  # of all noise: what costs less together needs no ranks
REACH = 6  # layers before and behind one whose boundaries it may change, over a shortcut, too


@dataclass(frozen=True)
class Rates:
    """What a runtime on a device takes for a network, measured, batch 1.

    Attributes:
        int8_us: all of it in int8.
        float_us: what each operation takes longer in float; negative where float is faster.
        element_ns: what an element takes that changes between int8 and float.
    """

    int8_us: float
    float_us: Mapping[str, float]
    element_ns: float = 0.0

    def us(self, floats: Iterable[str], crossing: int) -> float:
        """Return what it is predicted to take with operations in float, and so many elements more that change."""
        return self.int8_us + sum(self.float_us.get(name, 0.0) for name in floats) + 1e-3 * self.element_ns * crossing


@dataclass(frozen=True)
class Boundaries:
    """Where the values of a network change between integers and floats, whatever layers stay in float."""

    calibrator: Calibrator
    scheme: Scheme
    keep_float: Sequence[str] = ()
    _placed: dict[frozenset[str], Placement] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        """Those with weights that int8 takes over, in the order of the graph."""
        weights = self.placed(()).weights
        return tuple(op.name for op in self.calibrator.view.ops if op.name in weights)

    def placed(self, kept: Iterable[str]) -> Placement:
        """Return where quantisers go with some layers in float."""
        key = frozenset(kept)
        if key not in self._placed:
            self._placed[key] = place(self.calibrator.view, self.scheme, (*self.keep_float, *map(escape, sorted(key))))
        return self._placed[key]

    def priced(self, kept: Iterable[str], rates: Rates) -> float:
        """Return what the network is predicted to take with some layers in float, µs."""
        return rates.us(self.in_float(kept), self.crossing(kept))

    def in_float(self, kept: Iterable[str]) -> frozenset[str]:
        """Return the operations, by name and by what they make, that leave the integers if some layers do."""
        made = self._floats(self.placed(kept)) - self._floats(self.placed(()))
        return frozenset(name for op in made for name in ({op.name} if weighted(op) else {op.name, self._kernels[op]}))

    def crossing(self, kept: Iterable[str]) -> int:
        """Return how many elements of a sample change more than if no layer stayed in float; fewer are negative."""
        return self._changing(self.placed(kept)) - self._all_int8

    @cached_property
    def _all_int8(self) -> int:
        return self._changing(self.placed(()))

    @cached_property
    def _sizes(self) -> dict[str, int]:
        shapes = shapes_of(self.calibrator.plain)
        return {edge: prod(size or 1 for size in (shape or ())[1:]) for edge, shape in shapes.items()}

    @cached_property
    def _kernels(self) -> dict[Op, str]:
        """Each operation that is not fused into another, and the edge that it writes."""
        view = self.calibrator.view
        ends = chain_ends(view)
        fused = {edge for op in ends for edge in inner_outputs(view, op, ends[op])[1:]}
        return {op: ends.get(op, op.outputs[0]) for op in view.ops if op.outputs and op.outputs[0] not in fused}

    def _changing(self, placement: Placement) -> int:
        view, edges, floats = self.calibrator.view, placement.groups, self._floats(placement)
        made = set(view.inputs) | {self._kernels[op] for op in floats}
        read = set(view.outputs) | {edge for op in floats for edge in op.inputs}
        return sum(self._sizes.get(edge, 0) * ((edge in made) + (edge in read)) for edge in edges)

    def _floats(self, placement: Placement) -> set[Op]:
        return {op for op in self._kernels if not self._is_integer(op, placement)}

    def _is_integer(self, op: Op, placement: Placement) -> bool:
        if weighted(op):
            return op.name in placement.weights
        return self._kernels[op] in placement.groups and any(edge in placement.groups for edge in op.inputs)


def by_rate(boundaries: Boundaries, rates: Rates, batch: Mapping[str, Array]) -> Steps:
    """Return all layers in the order to keep them in float, each step the one that wins most for its time.

    What wins and costs nothing comes first. `batch` decides what rounding costs the outputs.
    """
    noise, layers = _Noise(boundaries, batch), boundaries.layers
    left = {layer: place for place, layer in enumerate(layers)}
    trades: dict[tuple[str, ...], _Trade] = {}
    kept: tuple[str, ...] = ()
    steps = []
    while left:
        now, before = noise.of(kept), boundaries.priced(kept, rates)
        for run in _runs(list(left)):
            if run not in trades:
                after = (*kept, *run)
                costs = boundaries.priced(after, rates) - before
                trades[run] = _Trade(now - noise.of(after), costs)
        best = max(trades, key=lambda run: trades[run].rank)
        kept += best
        steps.append(best)
        near = {layers[max(0, left[layer] - REACH) : left[layer] + REACH + 1] for layer in best}
        left = {layer: place for layer, place in left.items() if layer not in best}
        trades = {run: trade for run, trade in trades.items() if not set(run) & set(chain(best, *near))}
    return tuple(steps)


@dataclass(frozen=True)
class _Trade:
    """What some layers win in float, and the time that they cost there."""

    wins: float
    us: float

    @property
    def rank(self) -> tuple[bool, float]:
        return self.us <= 0 < self.wins, self.wins if self.us <= 0 else self.wins / self.us


def _runs(left: Sequence[str]) -> list[tuple[str, ...]]:
    """Each layer, and each with those that follow it."""
    return [tuple(left[at : at + more]) for more in range(1, LONGEST + 1) for at in range(len(left) + 1 - more)]


class _Noise:
    """What the outputs lose by rounding, the parts of tensors and weights added up."""

    def __init__(self, boundaries: Boundaries, batch: Mapping[str, Array]) -> None:
        self.boundaries, self.groups = boundaries, boundaries.placed(()).groups
        switched = Switched(boundaries.calibrator, boundaries.scheme, dict(batch), boundaries.keep_float)
        units = {name: frozenset({name}) for name in switched.names}
        ranking = Ranking(units, switched.cost)
        ranking.divide(NEGLIGIBLE * switched.cost(frozenset(units)))
        self.costs = ranking.costs

    def of(self, kept: Iterable[str]) -> float:
        """Return noise over signal with some layers in float."""
        placement = self.boundaries.placed(kept)
        tensors = {tensor_switch(self.groups[edge]) for edge in placement.groups if edge in self.groups}
        return sum(self.costs.get(name, 0.0) for name in (*tensors, *map(weight_switch, placement.weights)))
