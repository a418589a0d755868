"""What converters of trees and other classic models put at their end: dictionaries of scores, and labels as text."""

import onnx
from onnx import TensorProto, helper


def give_rows_for_maps(model: onnx.ModelProto) -> None:
    """Let the rows of scores be outputs of which each ZipMap makes a dictionary."""
    graph = model.graph
    rows = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "ZipMap"}
    kept = [node for node in graph.node if node.op_type != "ZipMap"]
    for node in kept if rows else ():
        node.input[:] = [rows.get(name, name) for name in node.input]
        node.output[:] = [rows.get(name, name) for name in node.output]
    del graph.node[:]
    graph.node.extend(kept)
    for value in graph.output:
        if value.name in rows.values():
            value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [None, None]))


def without_text(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """A copy without its outputs of text, and that in words; the argument itself where no other is left."""
    outputs = model.graph.output
    text = [value.name for value in outputs if value.type.tensor_type.elem_type == TensorProto.STRING]
    if not text or len(text) == len(outputs):
        return model, ()
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.output[:]
    bare.graph.output.extend(value for value in outputs if value.name not in text)
    return bare, tuple(f"output {name!r} is left out: it is text, which no bundle holds" for name in text)
