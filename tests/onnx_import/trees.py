"""A classifier of one tree, as converters of classic models write it."""

import onnx
from onnx import TensorProto, helper

LABELS = ["cat", "dog"]


def tree(*, text: bool = False) -> onnx.ModelProto:
    """x (N, 3) → a label, and a score for each class; of `text`, labels are words and each row is a dictionary."""
    leaves = {"class_treeids": [0] * 4, "class_nodeids": [1, 1, 2, 2], "class_ids": [0, 1, 0, 1]}
    nodes = {"treeids": [0] * 3, "nodeids": [0, 1, 2], "featureids": [1, 0, 0], "values": [0.2, 0.0, 0.0]}
    nodes |= {"modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "truenodeids": [1, 0, 0], "falsenodeids": [2, 0, 0]}
    known = {"classlabels_strings": LABELS} if text else {"classlabels_int64s": [0, 1]}
    classifier = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml", class_weights=[0.9, 0.1, 0.3, 0.7],
        **leaves, **{f"nodes_{name}": value for name, value in nodes.items()}, **known,
    )  # fmt: skip
    kind = TensorProto.STRING if text else TensorProto.INT64
    outputs = [helper.make_tensor_value_info("label", kind, ["N"])]
    if text:
        row = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
        outputs.append(helper.make_value_info("rows", helper.make_sequence_type_proto(row)))
    else:
        outputs.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2]))
    last = [helper.make_node("Identity", ["scores"], ["same"])] if text else []
    last += [helper.make_node("ZipMap", ["same"], ["rows"], domain="ai.onnx.ml", **known)] if text else []
    graph = helper.make_graph(
        [classifier, *last], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])], outputs
    )
    sets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(graph, opset_imports=sets, ir_version=8)
