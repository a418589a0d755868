"""How many tokens a model knows: the rows of the tables that it looks them up in."""

import onnx

_MOVES = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Reshape"}
    | {"Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)


def vocabulary(model: onnx.ModelProto, name: str) -> int | None:
    """Return how many values an input's integers may take, the smallest table deciding; None if none are looked up."""
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    tokens, found = {name}, list[int]()
    for node in model.graph.node:
        if node.op_type in _MOVES and tokens.intersection(node.input[: None if node.op_type == "Concat" else 1]):
            tokens.update(node.output)
        elif node.op_type == "DequantizeLinear" and node.input[0] in rows:
            rows[node.output[0]] = rows[node.input[0]]
        elif node.op_type == "Gather" and node.input[1] in tokens and node.input[0] in rows and not _axis(node):
            found.append(rows[node.input[0]])
    return min(found, default=None)


def _axis(gather: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in gather.attribute if attribute.name == "axis"), 0)
