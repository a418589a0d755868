"""What converters of trees and other classic models put at their end: dictionaries of scores, and labels as text."""

from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper

ML = "ai.onnx.ml"


def give_rows_for_maps(model: onnx.ModelProto) -> None:
    """Let the rows of scores be outputs of which each ZipMap makes a dictionary.

    An Identity behind a classic model goes, too: onnx infers no type for what it reads.
    """
    graph = model.graph
    outputs = {value.name for value in graph.output}
    made = {name for node in graph.node if node.domain == ML for name in node.output}
    rows, handed, gone = dict[str, str](), set[str](), list[int]()
    for place, node in enumerate(graph.node):
        hands_on = node.op_type == "ZipMap" or (node.op_type == "Identity" and node.input[0] in made)
        if hands_on:
            made.update(node.output)
            handed.update(node.output)
            if node.input[0] not in outputs and rows.setdefault(node.input[0], node.output[0]) == node.output[0]:
                gone.append(place)
            else:
                node.CopyFrom(helper.make_node("Identity", node.input, node.output, node.name))
    if not handed:
        return
    for place in reversed(gone):
        del graph.node[place]
    for node in graph.node:
        node.input[:] = [_last(rows, name) for name in node.input]
        node.output[:] = [_last(rows, name) for name in node.output]
    for value in graph.output:
        if value.type.WhichOneof("value") == "sequence_type" and value.name in handed:
            value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [None, None]))


def _last(rows: Mapping[str, str], name: str) -> str:
    while name in rows:
        name = rows[name]
    return name


def with_own_outputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy without outputs of text or that are inputs, and that in words; the argument itself where none is left."""
    outputs, inputs = model.graph.output, {value.name for value in model.graph.input}
    reasons = {value.name: "it is an input" for value in outputs if value.name in inputs}
    text = [value.name for value in outputs if value.type.tensor_type.elem_type == TensorProto.STRING]
    reasons |= dict.fromkeys(text, "it is text, which no bundle holds")
    if not reasons or len(reasons) == len(outputs):
        return model, ()
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.output[:]
    bare.graph.output.extend(value for value in outputs if value.name not in reasons)
    return bare, tuple(f"output {name!r} is left out: {reason}" for name, reason in reasons.items())
