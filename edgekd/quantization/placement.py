"""Which edges of a network carry a quantiser, and which of them share one: the rules, once, for every front end."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from edgekd.quantization.float_rules import float_rules
from edgekd.quantization.graph_ir import ACTIVATIONS, FIXED, PASS_THROUGH, POOLS, Op, View
from edgekd.quantization.kernels import chain_ends, inner_outputs, is_bias_or_norm, joins, weighted
from edgekd.quantization.ranges import Affine
from edgekd.quantization.scheme import Scheme
from edgekd.quantization.selection import select

Range = tuple[float, float]
BOUNDED = frozenset({"HardSigmoid"})  # between 0 and 1, which is its range where it is integer
UNLIKE = 4.0  # parts of a Concat whose ranges differ by more keep scales of their own: sharing one would cost two bits


@dataclass(frozen=True)
class Placement:
    """The quantised edges.

    Attributes:
        groups: edge → group; the edges of a group share one scale and zero point.
        fixed: edges whose scale and zero point are known beforehand.
        observed: edges whose values decide a group's range.
        joined: results of Concats, which decide one where the parts turn out to be unlike.
        weights: names of the operations whose weights are quantised.
    """

    groups: dict[str, int]
    fixed: dict[str, Affine]
    observed: tuple[str, ...]
    joined: tuple[str, ...]
    weights: frozenset[str]


def place(
    view: View,
    scheme: Scheme,
    keep_float: Iterable[str] = (),
    ranges: Mapping[str, Range] | None = None,
) -> Placement:
    """Apply the rules. `keep_float` are patterns as `selection.select` takes them; BadInputError if one names nothing.

    `ranges` are those that observed edges have shown: Concats of unlike ones share no scale.
    """
    kept = select(view, keep_float)
    rules = float_rules(view, scheme, kept)
    ends, depths = chain_ends(view), _depths(view)
    layers = [op for op in view.ops if op not in rules.ops]
    excluded = set(kept.edges) | {edge for op in layers for edge in _fused_branch(view, op, scheme, depths)}
    excluded |= {edge for op in rules.tail for edge in op.outputs}
    excluded |= {edge for op in ends for edge in inner_outputs(view, op, ends[op])[:-1]}
    placed = {edge for op in layers for edge in _needs(op, ends, scheme)} - excluded
    _spread(view, ends, placed, excluded, rules.integer)
    groups, fixed = _share(view, placed, scheme, ranges or {})
    layers = [op for op in layers if weighted(op) and op.kind not in scheme.floats]
    weights = frozenset(op.name for op in layers if op.inputs[0] in placed)
    joined = tuple(op.outputs[0] for op in view.ops if op.kind == "Concat" and op.outputs[0] in placed)
    return Placement(groups, fixed, _observed(view, groups, fixed), joined, weights)


def kernel_edges(view: View, scheme: Scheme) -> dict[str, tuple[str, ...]]:
    """What each layer with weights reads and writes in integers, by the layer's name."""
    ends = chain_ends(view)
    return {op.name: _needs(op, ends, scheme) for op in view.ops if weighted(op)}


def _needs(op: Op, ends: dict[Op, str], scheme: Scheme) -> tuple[str, ...]:
    """Edges that an operation's integer kernel reads and writes."""
    if op.kind in scheme.floats:
        return ()
    if op in ends:
        return (*op.inputs, ends[op])
    if op.kind in POOLS | FIXED:
        return (op.inputs[0], op.outputs[0])
    return (*op.inputs, *op.outputs) if op.kind in scheme.integers else ()


def _fused_branch(view: View, op: Op, scheme: Scheme, depths: dict[str, int]) -> list[str]:
    """The input of a residual Add that arrives unquantised because its convolution and the Add are one kernel."""
    if scheme.residual == "both" or not (op.kind == "Add" and joins(op)):
        return []
    branches = [edge for edge in op.inputs if view.only_consumer(edge) is op and _is_bare_kernel(view, edge)]
    return [max(branches, key=lambda edge: depths[edge])] if branches else []


def _is_bare_kernel(view: View, edge: str) -> bool:
    op = view.producers.get(edge)
    while op is not None and is_bias_or_norm(op):
        op = view.producers.get(op.inputs[0])
    return op is not None and weighted(op)


def _depths(view: View) -> dict[str, int]:
    """Kernels on the longest way to each edge; the shortcut of a residual block is the shallower branch."""
    depths = dict.fromkeys(view.inputs, 0)
    for op in view.ops:
        depth = max((depths.get(edge, 0) for edge in op.inputs), default=0) + weighted(op)
        depths.update(dict.fromkeys(op.outputs, depth))
    return depths


def _spread(
    view: View, ends: dict[Op, str], placed: set[str], excluded: Collection[str], integer: Collection[str]
) -> None:
    """Let operations that only move or clamp values join their quantised neighbours, until nothing changes."""
    fused = {edge for op in view.ops if op in ends for edge in inner_outputs(view, op, ends[op])}
    before = -1
    while before != len(placed):
        before = len(placed)
        for op in view.ops:
            edges = set(_moved(op))
            if edges & placed and _passes(op, placed, integer):
                placed |= edges - set(excluded)
            if op.kind in ACTIVATIONS and op.inputs[0] in placed and op.outputs[0] not in fused:
                placed |= {op.outputs[0]} - set(excluded)


def _passes(op: Op, placed: Collection[str], integer: Collection[str]) -> bool:
    """Whether moved values stay integers: a Concat with a float part only does where a kernel reads it in integers."""
    return op.kind != "Concat" or op.outputs[0] in placed or all(edge in integer for edge in op.inputs)


def _moved(op: Op) -> tuple[str, ...]:
    """Edges that hold the same values: input and outputs of a pass-through, all of a Concat."""
    if op.kind in PASS_THROUGH and op.inputs:
        return (op.inputs[0], *op.outputs)
    return (*op.inputs, *op.outputs) if op.kind == "Concat" else ()


def _share(
    view: View, placed: set[str], scheme: Scheme, ranges: Mapping[str, Range]
) -> tuple[dict[str, int], dict[str, Affine]]:
    order = [edge for edge in (*view.inputs, *(edge for op in view.ops for edge in op.outputs)) if edge in placed]
    groups = {edge: index for index, edge in enumerate(order)}
    kinds = FIXED | (BOUNDED & scheme.integers)
    fixed = {op.outputs[0]: _fixed(op, scheme) for op in view.ops if op.kind in kinds and op.outputs[0] in placed}
    for op in view.ops:
        edges = [edge for edge in _moved(op) if edge in placed]
        known = {fixed[edge] for edge in edges if edge in fixed}
        free = [edge for edge in edges if edge not in fixed]
        if len(known) == 1 and not set(free) - set(op.outputs):
            fixed |= dict.fromkeys(free, known.pop())
            free = edges
        if op.kind != "Concat" or (op.outputs[0] in placed and not _unlike(view, op, ranges, fixed, scheme)):
            _unite(groups, free)
    return groups, fixed


def _unlike(view: View, op: Op, ranges: Mapping[str, Range], fixed: Mapping[str, Affine], scheme: Scheme) -> bool:
    """Whether the parts that a Concat joins have ranges too far apart for one scale; a part of zeros goes with any."""
    found = [_span(view, edge, ranges, fixed, scheme) for edge in op.inputs]
    spans = [span for span in found if span]
    return bool(spans) and max(spans) > UNLIKE * min(spans)


def _span(
    view: View, edge: str, ranges: Mapping[str, Range], fixed: Mapping[str, Affine], scheme: Scheme
) -> float | None:
    """Width of what an edge holds, zero included, by the edge itself or what it was moved from; None if unknown."""
    if edge in fixed:
        smallest, largest = scheme.activation_range
        return fixed[edge].scale * (largest - smallest)
    if edge in ranges:
        low, high = ranges[edge]
        return max(high, 0.0) - min(low, 0.0)
    maker = view.producers.get(edge)
    sources = maker.inputs if maker is not None and maker.kind in PASS_THROUGH | {"Concat"} else ()
    spans = [span for source in sources if (span := _span(view, source, ranges, fixed, scheme)) is not None]
    return max(spans, default=None)


def _unite(groups: dict[str, int], edges: list[str]) -> None:
    joined = {groups[edge] for edge in edges}
    if len(joined) < 2:
        return
    groups.update({edge: min(joined) for edge, group in groups.items() if group in joined})


def _fixed(op: Op, scheme: Scheme) -> Affine:
    """What TFLite demands of these outputs; without a zero point the nearest symmetric equivalent."""
    if scheme.symmetric:
        return Affine(1 / 127, 0)
    levels = scheme.activation_range[1] + 1
    return Affine(2 / levels, levels // 2) if op.kind == "Tanh" else Affine(1 / levels, 0)


def share_moved(view: View, parameters: dict[str, Affine]) -> dict[str, Affine]:
    """Parameters that cover both sides of each pass-through, if they cover one: those values are the same."""
    complete = dict(parameters)
    moves = [op for op in view.ops if op.kind in PASS_THROUGH and op.inputs]
    for op in reversed(moves):
        if op.outputs[0] in complete:
            complete.setdefault(op.inputs[0], complete[op.outputs[0]])
    for op in moves:
        if op.inputs[0] in complete:
            complete |= {edge: complete.get(edge, complete[op.inputs[0]]) for edge in op.outputs}
    return complete


def _observed(view: View, groups: dict[str, int], fixed: dict[str, Affine]) -> tuple[str, ...]:
    def copies(edge: str) -> bool:
        op = view.producers.get(edge)
        sources = set(_moved(op)) - set(op.outputs) if op is not None else set()
        return bool(sources) and all(groups.get(source) == groups[edge] for source in sources)

    return tuple(edge for edge in groups if edge not in fixed and not copies(edge))
