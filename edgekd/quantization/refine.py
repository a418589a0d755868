"""Mixed precision by measured gain: the tensors whose rounding costs the outputs most stay in float, few of them.

Each quantised tensor is rounded alone while the others stay in float, and its error is taken where it counts: at the
worst part of the outputs. One session does it, whose quantisers are switched on one by one.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgekd.onnx_graph import Array
from edgekd.quantization.bias_correction import correct_biases
from edgekd.quantization.calibrate import DEFAULT, Calibration, Range, observe, parameters, placed_by_ranges, plain
from edgekd.quantization.onnx_view import view_of
from edgekd.quantization.parts import Part, judged_apart, parts_of
from edgekd.quantization.placement import place
from edgekd.quantization.qdq import insert_activations, quantize_weights
from edgekd.quantization.ranges import Affine
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme

Arrays = dict[str, Array]
ENOUGH_DB = 21.0  # on the samples that decide; a proof wants 20 on all
RANKED_ON = 8  # samples that a tensor is ranked on
RANKING = 0.5  # of the time
SPOTLESS = 120.0  # dB: more than float32 can tell apart


@dataclass(frozen=True)
class Nearness:
    """How near float the worst part of the outputs is, in dB."""

    part: str
    db: float


@dataclass(frozen=True)
class Refined:
    """A mixed model, the tensors that it keeps in float, and how near float int8 was before and is now.

    `costly` are the tensors that cost most, kept or not, the worst first; `met` says whether enough was gained.
    """

    model: onnx.ModelProto
    kept: tuple[str, ...]
    costly: tuple[str, ...]
    before: Nearness
    after: Nearness
    met: bool


def nearness(exact: Mapping[str, Array], rounded: Mapping[str, Array], parts: Mapping[str, Sequence[Part]]) -> Nearness:
    """Return the worst part of all real outputs; samples first."""
    found = [Nearness("", SPOTLESS)]
    for name, real in exact.items():
        if real.dtype.kind == "f":
            whole = Part(name, (slice(None),))
            apart = judged_apart(parts.get(name, ()), real) or (whole,)
            found += [Nearness(_label(name, part), _db(part.of(real), part.of(rounded[name]))) for part in apart]
    return min(found, key=lambda each: each.db)


def _label(output: str, part: Part) -> str:
    return output if part.name == output else f"{output}[{part.name}]"


def _db(real: Array, ours: Array) -> float:
    signal = float(np.sum(real.astype(np.float64) ** 2))
    noise = float(np.sum((real.astype(np.float64) - ours) ** 2))
    if not np.isfinite(noise):
        return -SPOTLESS
    return min(SPOTLESS, 10 * float(np.log10(signal / noise))) if noise and signal else SPOTLESS


def refine(
    model: onnx.ModelProto,
    scheme: Scheme,
    batches: Sequence[Arrays],
    quantized: onnx.ModelProto,
    keep_float: Sequence[str] = (),
    how: Calibration = DEFAULT,
    seconds: float = 60.0,
) -> Refined:
    """Keep as few of the costliest tensors of a float model in float as bring its int8 form near enough.

    `quantized` is what calibration alone made of it. How many are tried first follows from what each costs alone; it
    stops after `seconds`, with the best that was found by then.
    """
    deadline = time.monotonic() + seconds
    original, batch = plain(model, how), batches[0]
    exact, parts = Reference(original).run(batch), parts_of(original)

    def judge(attempt: onnx.ModelProto) -> Nearness:
        return nearness(exact, Reference(attempt).run(batch), parts)

    start = judge(quantized)
    maker = _Maker(original, scheme, batches, tuple(keep_float), how)
    groups = maker.groups()
    costs = _costs(maker.switched(groups), groups, batch, parts, time.monotonic() + seconds * RANKING)
    ranked = sorted(costs, key=lambda group: -costs[group])
    costly = tuple(edge for group in ranked[:3] for edge in groups[group][:1])
    best = Refined(quantized, (), costly, start, start, start.db >= ENOUGH_DB)
    count = _foreseen([costs[group] for group in ranked])
    while ranked and not best.met and time.monotonic() < deadline:
        kept = tuple(edge for group in ranked[:count] for edge in groups[group])
        attempt = maker.make(kept)
        found = judge(attempt)
        if found.db > best.after.db:
            best = Refined(attempt, kept, costly, start, found, found.db >= ENOUGH_DB)
        if count == len(ranked):
            break
        count = min(len(ranked), count + 1 + count // 2)
    return best


def _foreseen(costs: Sequence[float]) -> int:
    """How many of the costliest tensors have to stay in float for what the others cost together to be little enough."""
    left = np.cumsum(np.asarray(costs)[::-1])[::-1] > 10 ** (-ENOUGH_DB / 10)
    return max(1, int(left.sum()))


def _costs(
    switched: onnx.ModelProto,
    groups: Mapping[int, list[str]],
    batch: Arrays,
    parts: Mapping[str, Sequence[Part]],
    deadline: float,
) -> dict[int, float]:
    """Return what rounding each group of tensors alone costs the worst part of the outputs: noise over signal."""
    reference = Reference(switched)
    few = {name: array[:RANKED_ON] for name, array in batch.items()}
    off = {_switch(group): np.array(False) for group in groups}
    exact = reference.run({**few, **off})
    costs: dict[int, float] = {}
    for group in groups:
        if time.monotonic() > deadline:
            break
        rounded = reference.run({**few, **off, _switch(group): np.array(True)})
        costs[group] = 10 ** (-nearness(exact, rounded, parts).db / 10)
    return costs


def _switch(group: int) -> str:
    return f"edgekd.switch.{group}"


class _Maker:
    """Quantised forms of one plain model, with the same ranges and other tensors in float."""

    def __init__(
        self,
        original: onnx.ModelProto,
        scheme: Scheme,
        batches: Sequence[Arrays],
        keep: tuple[str, ...],
        how: Calibration,
    ) -> None:
        self.original, self.scheme, self.batches, self.keep, self.how = original, scheme, batches, keep, how
        self.placement, ranges = placed_by_ranges(original, scheme, batches, keep, how)
        self.ranges: dict[str, Range] = dict(ranges)

    def groups(self) -> dict[int, list[str]]:
        """Return the tensors that share a scale."""
        found: dict[int, list[str]] = {}
        for edge, group in self.placement.groups.items():
            found.setdefault(group, []).append(edge)
        return found

    def make(self, kept: Sequence[str]) -> onnx.ModelProto:
        """Return the model with `kept` tensors in float, beside what was kept anyway."""
        patterns = (*self.keep, *map(escape, kept))
        placement = place(view_of(self.original), self.scheme, patterns, self.ranges)
        unseen = [edge for edge in placement.observed if edge not in self.ranges]
        if unseen:
            self.ranges |= observe(self.original, unseen, self.batches, self.scheme, self.how.ranges)
        plain_model = self.original
        if self.how.correct_bias:
            plain_model = correct_biases(plain_model, self.scheme, placement.weights, self.batches)
        observed = {edge: self.ranges[edge] for edge in placement.observed}
        quantized = insert_activations(plain_model, parameters(placement, observed, self.scheme), self.scheme)
        return quantize_weights(quantized, self.scheme, placement.weights)

    def switched(self, groups: Mapping[int, list[str]]) -> onnx.ModelProto:
        """Return the float model with a quantiser on each tensor that a boolean input of its group switches on."""
        settled = parameters(self.placement, self.ranges, self.scheme)
        return _with_switches(self.original, settled, self.placement.groups, groups, self.scheme)


def _with_switches(
    model: onnx.ModelProto,
    settled: Mapping[str, Affine],
    group_of: Mapping[str, int],
    groups: Mapping[int, list[str]],
    scheme: Scheme,
) -> onnx.ModelProto:
    quantized = insert_activations(model, settled, scheme)
    raw = {node.output[0]: node.input[0] for node in quantized.graph.node if node.op_type == "QuantizeLinear"}
    outputs = {value.name for value in model.graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in quantized.graph.node:
        nodes.append(node)
        if node.op_type == "DequantizeLinear" and node.input[0] in raw:
            result, source = node.output[0], raw[node.input[0]]
            edge = result if result in outputs else source
            node.output[0] = f"{result}.rounded"
            nodes.append(helper.make_node("Where", [_switch(group_of[edge]), node.output[0], source], [result]))
    switched = onnx.ModelProto()
    switched.CopyFrom(quantized)
    del switched.graph.node[:]
    switched.graph.node.extend(nodes)
    switched.graph.input.extend(helper.make_tensor_value_info(_switch(group), TensorProto.BOOL, []) for group in groups)
    return switched
