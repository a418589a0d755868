"""What a lint rule reports."""

from dataclasses import dataclass

import onnx

from edgekd.onnx_graph import label


@dataclass(frozen=True)
class Finding:
    """One node that breaks a rule; a fatal one is rejected by TensorRT, or computed wrongly or in float."""

    rule: str
    node: str
    message: str
    fatal: bool = True


def found(rule: str, node: onnx.NodeProto, message: str, fatal: bool = True) -> Finding:
    """A finding at a node."""
    return Finding(rule, label(node), message, fatal)
