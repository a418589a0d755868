"""Simplification: what constants and sizes decide is computed, what is redundant goes, layers take in what follows."""

import onnx

from edgekd.onnx_graph import Graph, inferred
from edgekd.onnx_import.branches import branches, without_decided_branches
from edgekd.onnx_import.known_values import fold_known_values
from edgekd.onnx_import.redundant import drop_no_ops, drop_repeated, merge_moves
from edgekd.quantization.fold import fold_channelwise

RULES = (fold_known_values, drop_no_ops, merge_moves, drop_repeated, fold_channelwise)


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """A smaller equivalent model of opset 18 or later; the caller checks what it computes.

    Branches that nothing decides stay, and with them all that is beside them.
    """
    plain = inferred(without_decided_branches(model))
    while not branches(plain):
        graph = Graph(plain)
        for rule in RULES:
            rule(graph)
        smaller = inferred(graph.model())
        if len(smaller.graph.node) == len(plain.graph.node):
            return smaller
        plain = smaller
    return plain
