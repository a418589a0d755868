"""ONNX Runtime: the graph itself is deployed; the runtime fuses its Q/DQ pairs into integer kernels at load."""

from pathlib import Path

import numpy as np
import onnx

from edgekd.backends.compiled import PLAIN, Compiled, Precision
from edgekd.backends.onnx_file import require_float_io, tensor_specs, write_onnx
from edgekd.onnx_graph import Graph
from edgekd.quantization.float_fallback import float_layers
from edgekd.quantization.weight_only import dynamic_range, int8_tables
from edgekd.target import Target

PRECISIONS: tuple[Precision, ...] = (*PLAIN, "dynamic-range")

MODEL = "model.onnx"


def compile(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:  # noqa: A001
    """Write `model.onnx`; raise BadInputError for an invalid graph or integer I/O."""
    require_float_io(target)
    model = dynamic_range(model) if precision == "dynamic-range" else int8_tables(model)
    inputs, outputs = tensor_specs(model)
    write_onnx(_share_constants(model), folder / MODEL)
    notes = tuple(str(layers) for layers in float_layers(model)) if precision == "int8" else ()
    return Compiled(MODEL, (MODEL,), inputs, outputs, notes)


def _share_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Keep equal constants once: most are the scales and zero points of a Q and of its DQ.

    Each weight keeps a zero point of its own: ONNX Runtime 1.32 refuses to make one u8 for two, on x86 without VNNI.
    """
    graph = Graph(model)
    names: dict[tuple[str, tuple[int, ...], bytes, str], str] = {}

    def shared(edge: str, reader: onnx.NodeProto) -> str:
        value = graph.constants.get(edge)
        if value is None:
            return edge
        own = edge == reader.input[-1] and reader.op_type == "DequantizeLinear" and value.dtype == np.int8
        weight = reader.input[0] if own and reader.input[0] in graph.constants else ""
        return names.setdefault((str(value.dtype), value.shape, value.tobytes(), weight), edge)

    for node in graph.nodes:
        graph.set_inputs(node, [shared(edge, node) for edge in node.input])
    return graph.model()
