"""Which operations stay in float although an integer kernel may exist: what int8 would only cost there.

Idle operations are read by float ones alone. Islands are joins and pools beside float operations: their quantisers
would stand between float and float; and the squares that a norm averages. The tail is what follows the last layers:
decoding, scores, post-processing.
"""

from collections.abc import Collection, Set
from dataclasses import dataclass

from edgekd.quantization.graph_ir import ACTIVATIONS, FIXED, FLOAT, PASS_THROUGH, POOLS, Op, View
from edgekd.quantization.kernels import chain_ends, inner_outputs, is_lone_norm, joins, weighted
from edgekd.quantization.scheme import Scheme
from edgekd.quantization.selection import Kept


@dataclass(frozen=True)
class FloatRules:
    """What the rules found.

    Attributes:
        ops: operations that stay in float, the kept ones among them; `tail` are those behind the last layers.
        integer: edges that integer kernels make, and the network's inputs.
    """

    ops: frozenset[Op]
    tail: frozenset[Op]
    integer: frozenset[str]


def float_rules(view: View, scheme: Scheme, kept: Kept) -> FloatRules:
    """Apply the rules; `kept` is what a user keeps in float. Without a float tail, it is treated as the rest is."""
    tail = tail_of(view) if scheme.float_tail else frozenset()
    floats = tail | _idle(view, scheme) | kept.ops
    islands, integer = _islands(view, scheme, floats, kept.edges)
    return FloatRules(floats | islands, tail, integer)


def tail_of(view: View) -> frozenset[Op]:
    """Return the operations behind the last layers; those that only move what these make are not among them.

    A layer that makes an output is a layer, however small. One that is mere arithmetic, as a box decoder's weighted
    mean, is none where no other layer follows it.
    """
    before = _leading_to_layers(view)
    ends = chain_ends(view)
    kernels = [op for op in ends if (weighted(op) and not op.arithmetic) or is_lone_norm(view, op)]
    fused = {edge for op in kernels for edge in inner_outputs(view, op, ends[op])}
    tail: set[Op] = set()
    for op in view.ops:
        moves = op.kind in PASS_THROUGH and view.producers.get(op.inputs[0]) not in tail
        if op not in before and not moves and not fused & set(op.outputs):
            tail.add(op)
    return frozenset(tail)


def _leading_to_layers(view: View) -> set[Op]:
    """Return all layers and the operations from which one can be reached."""
    found: set[Op] = set()
    for op in reversed(view.ops):
        readers = [reader for edge in op.outputs for reader in view.consumers.get(edge, [])]
        layer = (weighted(op) and not op.arithmetic) or is_lone_norm(view, op)
        if layer or any(reader in found for reader in readers):
            found.add(op)
    return found


def _islands(
    view: View, scheme: Scheme, floats: Collection[Op], kept: Collection[str]
) -> tuple[frozenset[Op], frozenset[str]]:
    """Return the islands, and the edges that integer kernels make.

    Islands are joins and pools that read what no integer kernel makes, and squares that are averaged.
    """
    ends = chain_ends(view)
    fused = {edge for op in ends if op.kind not in scheme.floats for edge in inner_outputs(view, op, ends[op])[1:]}
    islands: set[Op] = set()
    integer = set(view.inputs) - set(kept)
    for op in view.ops:
        whole = all(edge in integer for edge in op.inputs)
        if ((joins(op) or op.kind in POOLS) and not whole) or (scheme.float_tail and _is_averaged_square(view, op)):
            islands.add(op)
        elif op not in floats and _is_integer(op, scheme, fused, whole):
            integer |= set(op.outputs) - set(kept)
    return frozenset(islands), frozenset(integer)


def _is_averaged_square(view: View, op: Op) -> bool:
    """Whether an operation squares what is averaged next, as RMSNorm does: integers lose the small ones."""
    readers = view.consumers.get(op.outputs[0], [])
    return joins(op) and len(set(op.inputs)) == 1 and bool(readers) and all(each.kind in POOLS for each in readers)


def _is_integer(op: Op, scheme: Scheme, fused: Set[str], whole: bool) -> bool:
    """Whether an integer kernel makes the results of an operation; `whole` says that its inputs are such results."""
    if op.kind in scheme.floats:
        return False
    if weighted(op) or op.kind in FIXED:
        return True
    follows = op.kind in PASS_THROUGH | ACTIVATIONS | POOLS | scheme.integers | {"Concat"} or joins(op)
    return whole and (follows or op.kind == "BatchNormalization" or bool(fused & set(op.outputs)))


def _idle(view: View, scheme: Scheme) -> frozenset[Op]:
    """Sums, products and softmaxes that no integer kernel reads: those of attention, and a transformer's residual ones.

    In integers they would gain nothing, and a residual stream, whose outliers are many times its values, loses most.
    """
    idle = {op for op in view.ops if joins(op) or op.kind == "Softmax"}
    busy = set(idle)
    while busy:
        busy = {op for op in idle if not _only_floats_read(view, op.outputs[0], idle, scheme)}
        idle -= busy
    return frozenset(idle)


def _only_floats_read(view: View, edge: str, idle: Collection[Op], scheme: Scheme) -> bool:
    def in_float(op: Op) -> bool:
        if op.kind in PASS_THROUGH:
            return all(_only_floats_read(view, output, idle, scheme) for output in op.outputs)
        product = op.kind == "MatMul" and not op.constant
        return ((product or op.kind in FLOAT) and op.kind not in scheme.integers) or op in idle

    return edge not in view.outputs and all(in_float(op) for op in view.consumers.get(edge, []))
