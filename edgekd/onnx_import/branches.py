"""Branches whose condition is known from constants and sizes: the one that is taken, in place of the choice."""

from collections.abc import Iterator, Mapping

import onnx
from onnx import GraphProto, NodeProto, helper

from edgekd.onnx_graph import attribute, constants
from edgekd.onnx_import.known_values import with_known_values


def branches(model: onnx.ModelProto) -> list[NodeProto]:
    """The choices that a model makes when it runs; those within a branch not counted."""
    return [node for node in model.graph.node if node.op_type == "If"]


def without_decided_branches(model: onnx.ModelProto) -> onnx.ModelProto:
    """An equivalent model without a choice whose outcome is known; the argument itself where it has no choices."""
    while branches(model):
        known = with_known_values(model)
        decided = _decided(known)
        if not decided and known is model:
            break
        model = _with_branches_taken(known, decided)
    return model


def _decided(model: onnx.ModelProto) -> dict[str, GraphProto]:
    """The branch that is taken, by the first edge that the choice makes."""
    numbers, decided = constants(model), {}
    for node in branches(model):
        condition = numbers.get(node.input[0])
        if condition is not None and condition.size == 1:
            decided[node.output[0]] = attribute(node, "then_branch" if condition.item() else "else_branch")
    return decided


def _with_branches_taken(model: onnx.ModelProto, decided: Mapping[str, GraphProto]) -> onnx.ModelProto:
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:]
    plain.graph.ClearField("value_info")
    plain.graph.node.extend(node for node in model.graph.node if not _is_in(node, decided))
    taken = set(_defined(plain.graph)) | {value.name for value in plain.graph.input}
    del plain.graph.node[:]
    for node in model.graph.node:
        if not _is_in(node, decided):
            plain.graph.node.append(node)
            continue
        branch = _with_own_names(decided[node.output[0]], taken)
        plain.graph.initializer.extend(branch.initializer)
        plain.graph.node.extend(branch.node)
        for made, edge in zip(branch.output, node.output, strict=True):
            plain.graph.node.append(helper.make_node("Identity", [made.name], [edge], name=f"{edge}_Identity"))
    return plain


def _is_in(node: NodeProto, decided: Mapping[str, GraphProto]) -> bool:
    return node.op_type == "If" and node.output[0] in decided


def _with_own_names(branch: GraphProto, taken: set[str]) -> GraphProto:
    """A copy that defines no name which is taken; its names are, afterwards."""
    own, new = GraphProto(), dict[str, str]()
    own.CopyFrom(branch)
    for name in _defined(branch):
        new[name] = next(each for each in _variants(name) if each not in taken)
        taken.add(new[name])
    _rename(own, new)
    return own


def _variants(name: str) -> Iterator[str]:
    yield name
    number = 1
    while True:
        yield f"{name}_{number}"
        number += 1


def _defined(graph: GraphProto) -> Iterator[str]:
    """The names that a graph, and those within it, give."""
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from filter(None, node.output)
        for inner in _within(node):
            yield from _defined(inner)


def _rename(graph: GraphProto, new: Mapping[str, str]) -> None:
    for named in (*graph.initializer, *graph.output):
        named.name = new.get(named.name, named.name)
    for node in graph.node:
        node.input[:] = [new.get(edge, edge) for edge in node.input]
        node.output[:] = [new.get(edge, edge) for edge in node.output]
        for inner in _within(node):
            _rename(inner, new)


def _within(node: NodeProto) -> list[GraphProto]:
    return [entry.g for entry in node.attribute if entry.HasField("g")]
