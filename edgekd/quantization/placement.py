"""Which edges of a network carry a quantiser, and which of them share one: the rules, once, for every front end."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgekd.errors import BadInputError
from edgekd.plugins import nearest
from edgekd.quantization.ranges import Affine
from edgekd.quantization.scheme import Scheme
from edgekd.quantization.view import ACTIVATIONS, ELEMENTWISE, FIXED, FLOAT, PASS_THROUGH, POOLS, WEIGHTED, Op, View


@dataclass(frozen=True)
class Placement:
    """The quantised edges.

    Attributes:
        groups: edge → group; the edges of a group share one scale and zero point.
        fixed: edges whose scale and zero point are known beforehand.
        observed: edges whose values decide a group's range.
        weights: names of the operations whose weights are quantised.
    """

    groups: dict[str, int]
    fixed: dict[str, Affine]
    observed: tuple[str, ...]
    weights: frozenset[str]


def place(view: View, scheme: Scheme, keep_float: Iterable[str] = ()) -> Placement:
    """Apply the rules. `keep_float` are globs over operation and edge names; BadInputError if one matches nothing."""
    floats = _kept(view, list(keep_float))
    ends = _chain_ends(view)
    depths = _depths(view)
    idle = _idle(view)
    layers = [op for op in view.ops if op.name not in floats | idle]
    excluded = floats | {edge for op in layers for edge in _fused_branch(view, op, scheme, depths)}
    placed = {edge for op in layers for edge in _needs(op, ends, scheme)} - excluded
    _spread(view, ends, placed, excluded)
    groups, fixed = _share(view, placed, scheme)
    layers = [op for op in layers if _weighted(op) and op.kind not in scheme.floats]
    weights = frozenset(op.name for op in layers if op.inputs[0] in placed)
    return Placement(groups, fixed, _observed(view, groups, fixed), weights)


def kernel_edges(view: View, scheme: Scheme) -> dict[str, tuple[str, ...]]:
    """What each layer with weights reads and writes in integers, by the layer's name."""
    ends = _chain_ends(view)
    return {op.name: _needs(op, ends, scheme) for op in view.ops if _weighted(op)}


def _kept(view: View, globs: list[str]) -> set[str]:
    names = {op.name for op in view.ops} | {edge for op in view.ops for edge in op.outputs} | set(view.inputs)
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in names):
            raise BadInputError(f"keep_float: {glob!r} matches no layer{nearest(glob, {op.name for op in view.ops})}")
    return {name for name in names if any(fnmatchcase(name, glob) for glob in globs)}


def _idle(view: View) -> set[str]:
    """Sums, products and softmaxes that no integer kernel reads: those of attention, and a transformer's residual ones.

    In integers they would gain nothing, and a residual stream, whose outliers are many times its values, loses most.
    """
    idle = {op.name for op in view.ops if _joins(op) or op.kind == "Softmax"}
    busy = {""}
    while busy:
        busy = {op.name for op in view.ops if op.name in idle and not _only_floats_read(view, op.outputs[0], idle)}
        idle -= busy
    return idle


def _only_floats_read(view: View, edge: str, idle: set[str]) -> bool:
    def in_float(op: Op) -> bool:
        if op.kind in PASS_THROUGH:
            return all(_only_floats_read(view, output, idle) for output in op.outputs)
        product = op.kind == "MatMul" and not op.constant
        return product or op.kind in FLOAT or op.name in idle

    return edge not in view.outputs and all(in_float(op) for op in view.consumers.get(edge, []))


def _weighted(op: Op) -> bool:
    return op.kind in WEIGHTED and op.constant


def _joins(op: Op) -> bool:
    return op.kind in ELEMENTWISE and len(op.inputs) == 2


def _chain_ends(view: View) -> dict[Op, str]:
    """The edge behind each kernel after what fuses into it: a bias or a batch norm, then one activation."""
    return {op: _chain_end(view, op) for op in view.ops if _weighted(op) or _joins(op) or _is_lone_norm(view, op)}


def _chain_end(view: View, op: Op) -> str:
    edge = op.outputs[0]
    stages = [_is_bias_or_norm, _is_activation] if _weighted(op) else [_is_activation]
    for fuses in stages:
        follower = view.only_consumer(edge)
        if follower is not None and fuses(follower):
            edge = follower.outputs[0]
    return edge


def _is_lone_norm(view: View, op: Op) -> bool:
    """A batch norm that no layer before it takes in is a depthwise convolution with exact weights."""
    if not _is_batch_norm(op):
        return False
    before = view.producers.get(op.inputs[0])
    return before is None or not _weighted(before) or view.only_consumer(op.inputs[0]) is not op


def _is_bias_or_norm(op: Op) -> bool:
    return _is_bias(op) or _is_batch_norm(op)


def _is_bias(op: Op) -> bool:
    return op.kind == "Add" and op.constant


def _is_batch_norm(op: Op) -> bool:
    return op.kind == "BatchNormalization"


def _is_activation(op: Op) -> bool:
    return op.kind in ACTIVATIONS


def _needs(op: Op, ends: dict[Op, str], scheme: Scheme) -> tuple[str, ...]:
    """Edges that an operation's integer kernel reads and writes."""
    if op.kind in scheme.floats:
        return ()
    if op in ends:
        return (*op.inputs, ends[op])
    return (op.inputs[0], op.outputs[0]) if op.kind in POOLS | FIXED else ()


def _fused_branch(view: View, op: Op, scheme: Scheme, depths: dict[str, int]) -> list[str]:
    """The input of a residual Add that arrives unquantised because its convolution and the Add are one kernel."""
    if scheme.residual == "both" or not (op.kind == "Add" and _joins(op)):
        return []
    branches = [edge for edge in op.inputs if view.only_consumer(edge) is op and _is_bare_kernel(view, edge)]
    return [max(branches, key=lambda edge: depths[edge])] if branches else []


def _is_bare_kernel(view: View, edge: str) -> bool:
    op = view.producers.get(edge)
    while op is not None and _is_bias_or_norm(op):
        op = view.producers.get(op.inputs[0])
    return op is not None and _weighted(op)


def _depths(view: View) -> dict[str, int]:
    """Kernels on the longest way to each edge; the shortcut of a residual block is the shallower branch."""
    depths = dict.fromkeys(view.inputs, 0)
    for op in view.ops:
        depth = max((depths.get(edge, 0) for edge in op.inputs), default=0) + _weighted(op)
        depths.update(dict.fromkeys(op.outputs, depth))
    return depths


def _spread(view: View, ends: dict[Op, str], placed: set[str], excluded: Collection[str]) -> None:
    """Let operations that only move or clamp values join their quantised neighbours, until nothing changes."""
    fused = {edge for op in view.ops if op in ends for edge in _inner_outputs(view, op, ends[op])}
    before = -1
    while before != len(placed):
        before = len(placed)
        for op in view.ops:
            edges = set(_moved(op))
            if edges & placed:
                placed |= edges - set(excluded)
            if op.kind in ACTIVATIONS and op.inputs[0] in placed and op.outputs[0] not in fused:
                placed |= {op.outputs[0]} - set(excluded)


def _inner_outputs(view: View, op: Op, end: str) -> list[str]:
    edges = [op.outputs[0]]
    while edges[-1] != end:
        edges.append(view.consumers[edges[-1]][0].outputs[0])
    return edges


def _moved(op: Op) -> tuple[str, ...]:
    """Edges that hold the same values: input and outputs of a pass-through, all of a Concat."""
    if op.kind in PASS_THROUGH and op.inputs:
        return (op.inputs[0], *op.outputs)
    return (*op.inputs, *op.outputs) if op.kind == "Concat" else ()


def _share(view: View, placed: set[str], scheme: Scheme) -> tuple[dict[str, int], dict[str, Affine]]:
    order = [edge for edge in (*view.inputs, *(edge for op in view.ops for edge in op.outputs)) if edge in placed]
    groups = {edge: index for index, edge in enumerate(order)}
    fixed = {op.outputs[0]: _fixed(op, scheme) for op in view.ops if op.kind in FIXED and op.outputs[0] in placed}
    for op in view.ops:
        edges = [edge for edge in _moved(op) if edge in placed]
        known = {fixed[edge] for edge in edges if edge in fixed}
        free = [edge for edge in edges if edge not in fixed]
        if len(known) == 1 and not set(free) - set(op.outputs):
            fixed |= dict.fromkeys(free, known.pop())
            free = edges
        _unite(groups, free)
    return groups, fixed


def _unite(groups: dict[str, int], edges: list[str]) -> None:
    joined = {groups[edge] for edge in edges}
    if len(joined) < 2:
        return
    groups.update({edge: min(joined) for edge, group in groups.items() if group in joined})


def _fixed(op: Op, scheme: Scheme) -> Affine:
    """What TFLite demands of these outputs; without a zero point the nearest symmetric equivalent."""
    if scheme.symmetric:
        return Affine(1 / 127, 0)
    return Affine(1 / 128, 128) if op.kind == "Tanh" else Affine(1 / 256, 0)


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
