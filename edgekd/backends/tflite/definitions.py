"""Operators that ONNX itself defines by others, written as it defines them."""

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import FunctionProto, NodeProto, TypeProto, defs, helper, inliner

from edgekd.backends.shapes import opset
from edgekd.onnx_graph import STANDARD, inferred, label

DEFINED = frozenset(
    {"Attention", "CenterCropPad", "GroupNormalization", "MeanVarianceNormalization"}
    | {"RMSNormalization", "ReduceLogSum", "ReduceLogSumExp", "RotaryEmbedding", "Shrink", "Softsign", "Swish"}
    | {"ThresholdedRelu"}
)
DOMAIN = "edgekd.definitions"


def write_out_defined(model: onnx.ModelProto) -> onnx.ModelProto:
    """An equivalent model without these operators; the argument itself where it has none."""
    if not any(map(_is_defined, model.graph.node)):
        return model
    plain = inferred(model)
    plain.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    types = _types(plain)
    for number, node in enumerate(plain.graph.node):
        body = _definition(node, opset(plain), types) if _is_defined(node) else None
        if body is not None:
            body.name, body.domain = f"{node.op_type}_{number}", DOMAIN
            del body.opset_import[:]
            body.opset_import.append(helper.make_opsetid("", opset(plain)))
            for each in body.node:
                each.name = f"{label(node)}/{each.op_type}"
            plain.functions.append(body)
            node.op_type, node.domain = body.name, body.domain
    return inliner.inline_local_functions(plain)


def _is_defined(node: NodeProto) -> bool:
    return node.op_type in DEFINED and node.domain in STANDARD


def _types(model: onnx.ModelProto) -> dict[str, TypeProto]:
    graph = model.graph
    types = {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}
    held = {each.name: helper.make_tensor_type_proto(each.data_type, each.dims) for each in graph.initializer}
    return types | held


def _definition(node: NodeProto, version: int, types: Mapping[str, TypeProto]) -> FunctionProto | None:
    """A node's operator in a version of the standard set; None where that version does not define it."""
    schema: Any = defs.get_schema(node.op_type, version)
    given = {entry.name for entry in node.attribute}
    defaults = [each.default_value for name, each in schema.attributes.items() if name not in given]
    node.attribute.extend(each for each in defaults if each.type)
    plain, of_types = (
        [each for each in versions if each <= version]
        for versions in (schema.function_opset_versions, schema.context_dependent_function_opset_versions)
    )
    body = FunctionProto()
    if plain:
        body.ParseFromString(schema.get_function_with_opset_version(max(plain)))
        return body
    if not of_types:
        return None
    given_types = [types.get(name, TypeProto()).SerializeToString() for name in node.input]
    define = schema.get_context_dependent_function_with_opset_version
    body.ParseFromString(define(max(of_types), node.SerializeToString(), given_types))
    return body
