"""What one integer kernel computes: a layer with what fuses into it, or a join of two activations."""

from edgekd.quantization.graph_ir import ACTIVATIONS, ELEMENTWISE, WEIGHTED, Op, View


def weighted(op: Op) -> bool:
    """Whether an operation is a layer with constant weights."""
    return op.kind in WEIGHTED and op.constant


def joins(op: Op) -> bool:
    """Whether an operation adds or multiplies two activations."""
    return op.kind in ELEMENTWISE and len(op.inputs) == 2


def is_bias_or_norm(op: Op) -> bool:
    """Whether an operation merges into the weights before it."""
    return (op.kind == "Add" and op.constant) or op.kind == "BatchNormalization"


def is_lone_norm(view: View, op: Op) -> bool:
    """Whether no layer takes a batch norm in: it is a depthwise convolution with exact weights then."""
    if op.kind != "BatchNormalization":
        return False
    before = view.producers.get(op.inputs[0])
    return before is None or not weighted(before) or view.only_consumer(op.inputs[0]) is not op


def chain_ends(view: View) -> dict[Op, str]:
    """Return the edge behind each kernel after what fuses into it: a bias or a batch norm, then one activation."""
    return {op: _chain_end(view, op) for op in view.ops if weighted(op) or joins(op) or is_lone_norm(view, op)}


def _chain_end(view: View, op: Op) -> str:
    edge = op.outputs[0]
    stages = [is_bias_or_norm, _is_activation] if weighted(op) else [_is_activation]
    for fuses in stages:
        follower = view.only_consumer(edge)
        if follower is not None and fuses(follower):
            edge = follower.outputs[0]
    return edge


def _is_activation(op: Op) -> bool:
    return op.kind in ACTIVATIONS


def inner_outputs(view: View, op: Op, end: str) -> list[str]:
    """Return the edges within a kernel, the first operation's own output first, `end` last."""
    edges = [op.outputs[0]]
    while edges[-1] != end:
        edges.append(view.consumers[edges[-1]][0].outputs[0])
    return edges
