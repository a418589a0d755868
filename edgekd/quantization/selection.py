"""What `keep_float` names: operations and edges by glob, by type, or all between two of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from edgekd.errors import BadInputError
from edgekd.plugins import nearest
from edgekd.quantization.graph_ir import PASS_THROUGH, Op, View
from edgekd.quantization.kernels import chain_ends, inner_outputs

TYPE, BETWEEN = "type:", "between:"


@dataclass(frozen=True)
class Kept:
    """Operations that compute in float, and edges that carry no quantiser."""

    ops: frozenset[Op] = frozenset()
    edges: frozenset[str] = frozenset()


def select(view: View, patterns: Iterable[str]) -> Kept:
    """Return what the patterns name: `glob` (of operations and edges), `type:glob`, `between:first,last`.

    An operation that only moves values, or is fused into a layer, stands for the layer that makes those values.
    Raises BadInputError for a pattern that names nothing, or values that no layer makes.
    """
    ops: set[Op] = set()
    edges: set[str] = set()
    makers = _makers(view)
    for pattern in patterns:
        found, named = _matched(view, pattern)
        edges |= named
        for op in found:
            maker = makers.get(op, op)
            if maker.kind in PASS_THROUGH and not named:
                raise BadInputError(f"keep_float: {pattern!r} only moves values of an input: name the layer behind it")
            ops.add(maker)
            edges |= set(op.outputs) if maker.kind == "Concat" else set()
    return Kept(frozenset(ops), frozenset(edges))


def _matched(view: View, pattern: str) -> tuple[list[Op], set[str]]:
    if pattern.startswith(TYPE):
        kind = pattern.removeprefix(TYPE)
        return _named(view, pattern, lambda op: fnmatchcase(op.kind, kind), {op.kind for op in view.ops}), set()
    if pattern.startswith(BETWEEN):
        return _between(view, pattern), set()
    edges = {edge for edge in _edges(view) if fnmatchcase(edge, pattern)}
    if edges:
        return [op for op in view.ops if fnmatchcase(op.name, pattern)], edges
    return _named(view, pattern, lambda op: fnmatchcase(op.name, pattern), {op.name for op in view.ops}), edges


def _named(view: View, pattern: str, matches: Callable[[Op], bool], known: set[str]) -> list[Op]:
    found = [op for op in view.ops if matches(op)]
    if not found:
        raise BadInputError(f"keep_float: {pattern!r} matches no layer{nearest(pattern.removeprefix(TYPE), known)}")
    return found


def _between(view: View, pattern: str) -> list[Op]:
    """The operations on all ways from the first named to the last, both among them."""
    first, comma, last = pattern.removeprefix(BETWEEN).partition(",")
    if not comma:
        raise BadInputError(f"keep_float: {pattern!r} needs two layers, as in {BETWEEN}first,last")
    starts, stops = (_ends(view, name.strip()) for name in (first, last))
    behind: set[Op] = set()
    for op in view.ops:
        if op in starts or any(view.producers.get(edge) in behind for edge in op.inputs):
            behind.add(op)
    before: set[Op] = set()
    for op in reversed(view.ops):
        if op in stops or any(reader in before for edge in op.outputs for reader in view.consumers.get(edge, [])):
            before.add(op)
    found = [op for op in view.ops if op in behind & before]
    if not found:
        raise BadInputError(f"keep_float: {pattern!r}: no way leads from the first layer to the last")
    return found


def _ends(view: View, name: str) -> list[Op]:
    makers = [view.producers[edge] for edge in view.producers if fnmatchcase(edge, name)]
    return makers or _named(view, name, lambda op: fnmatchcase(op.name, name), {op.name for op in view.ops})


def _edges(view: View) -> list[str]:
    return [*view.inputs, *(edge for op in view.ops for edge in op.outputs)]


def _makers(view: View) -> dict[Op, Op]:
    """For each operation that moves values or is fused into a kernel, the operation that makes those values."""
    ends = chain_ends(view)
    heads = {edge: op for op in ends for edge in inner_outputs(view, op, ends[op])}
    makers: dict[Op, Op] = {}
    for op in view.ops:
        if op.outputs and op.outputs[0] in heads:
            makers[op] = heads[op.outputs[0]]
        elif op.kind in PASS_THROUGH and op.inputs and op.inputs[0] in view.producers:
            before = view.producers[op.inputs[0]]
            makers[op] = makers.get(before, before)
    return makers
