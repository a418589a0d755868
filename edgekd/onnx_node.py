"""What one ONNX node makes of operands that are known, by the operators' reference in Python."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

Array = NDArray[Any]


class GatherElements(OpRun):
    """The operator as it is specified; onnx's own reads one element a row where it gathers from more than 32."""

    def _run(self, data: Array, indices: Array, axis: int | None = None) -> tuple[Array]:
        along = (axis or 0) % data.ndim
        reached = tuple(slice(None if dim == along else size) for dim, size in enumerate(indices.shape))
        return (np.take_along_axis(data[reached], indices.astype(np.int64), along),)


def evaluate(node: NodeProto, feeds: Mapping[str, Array], version: int | None = None) -> dict[str, Array]:
    """Return a node's outputs by name; operators are those of a `version` of the standard set, else of the newest."""
    opsets = None if version is None else {"": version}
    results = ReferenceEvaluator(node, opsets=opsets, new_ops=[GatherElements]).run(None, dict(feeds))
    return {name: np.asarray(value) for name, value in zip(node.output, results, strict=False) if name}
