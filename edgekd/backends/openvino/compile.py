"""OpenVINO: ONNX to IR (`model.xml` and `model.bin`), the same bytes for the same graph."""

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekd.backends.compiled import PLAIN, Compiled, Precision
from edgekd.backends.onnx_file import require_float_io, tensor_specs, write_onnx
from edgekd.backends.openvino.runtime import WEIGHTED, keep_to_itself
from edgekd.backends.recurrent import has_peepholes, unroll
from edgekd.backends.shapes import static_shapes
from edgekd.errors import BadInputError, MissingExtraError
from edgekd.onnx_graph import Graph, attribute
from edgekd.quantization.float_fallback import float_layers
from edgekd.quantization.weight_only import int8_tables, int8_weights
from edgekd.target import Target

PRECISIONS: tuple[Precision, ...] = (*PLAIN, "dynamic-range")
# What the runtime makes of the float model when it is left alone: bf16 on some CPUs, f16 on others.
FLOAT_VARIANTS = {"default": {"precision": "default"}}

MODEL, WEIGHTS = "model.xml", "model.bin"
LIMITS = range(1, 5)  # a FakeQuantize's inputs after the value: low and high of what comes in, and of what goes out
LEAST = 1e-30  # of a bias that is none
SHAPING = {"Reshape", "Squeeze", "Unsqueeze", "Transpose"}


def compile(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:  # noqa: A001
    """Write the IR, weights as they are in the graph; raise BadInputError naming what OpenVINO cannot convert.

    The runtime quantises the inputs of integer weights as it sees fit: dynamic range needs no more than those.
    """
    openvino = _sdk()
    require_float_io(target)
    model = int8_weights(model) if precision == "dynamic-range" else int8_tables(model)
    inputs, outputs = tensor_specs(model)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "model.onnx"
        write_onnx(_with_uneven_biases(_with_float_biases(_without_peepholes(model, target.batch))), source)
        try:
            converted = openvino.convert_model(source)
        except (RuntimeError, openvino.frontend.OpConversionFailure) as error:
            raise BadInputError(f"OpenVINO cannot convert this graph: {_reason(error)}") from error
    _share_limits(openvino, converted)
    _drop_repeated(converted)
    _name_operations(converted)
    _name_weights(converted, model)
    openvino.save_model(converted, folder / MODEL, compress_to_fp16=False)
    notes = tuple(str(layers) for layers in float_layers(model)) if precision == "int8" else ()
    return Compiled(MODEL, (MODEL, WEIGHTS), inputs, outputs, notes)


def _sdk() -> Any:
    keep_to_itself()
    try:
        import openvino
        import openvino.frontend
    except ImportError as error:
        raise MissingExtraError("openvino") from error
    return openvino


def _without_peepholes(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """LSTMs with peepholes step by step: OpenVINO 2026.4 leaves these out without a word."""
    if not any(map(has_peepholes, model.graph.node)):
        return model
    graph = Graph(model)
    unroll(graph, static_shapes(model, batch), has_peepholes)
    return graph.model()


def _with_float_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """int32 biases as the floats that the runtime makes of them at load: a constant each instead of six operations."""
    graph = Graph(model)
    for node in graph.nodes:
        stored, scale = (graph.constant(node, index) for index in (0, 1))
        if node.op_type == "DequantizeLinear" and stored is not None and stored.dtype == np.int32:
            assert scale is not None
            value = stored.astype(np.float32) * scale
            graph.reroute(node.output[0], graph.add_constant(node.output[0], value))
    return graph.model()


def _with_uneven_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gemms whose bias is absent, or the same for all channels, get one that differs by less than arithmetic sees.

    OpenVINO 2026.4 joins successive int8 layers on matrices into one kernel, which computes noise at batches up to 8
    where a bias is a scalar; it makes one of equal values, and drops zeros.
    """
    graph = Graph(model)
    for node in graph.nodes:
        channels = _integer_channels(graph, node)
        bias = np.zeros(1, np.float32) if len(node.input) < 3 else graph.constant(node, 2)
        if channels and bias is not None and np.ptp(bias) == 0:
            uneven = np.full(channels, bias.reshape(-1)[0], np.float32)
            uneven[::2] = np.nextafter(uneven[::2], np.float32(np.inf)) if uneven[0] else LEAST
            graph.set_inputs(node, [*node.input[:2], graph.add_constant(f"{node.input[1]}_bias", uneven)])
    return graph.model()


def _integer_channels(graph: Graph, node: onnx.NodeProto) -> int:
    """Outputs of a Gemm whose weight is integer; 0 for what is none."""
    maker = graph.producer(node.input[1]) if node.op_type == "Gemm" else None
    weight = graph.constant(maker, 0) if maker is not None and maker.op_type == "DequantizeLinear" else None
    return 0 if weight is None else int(weight.shape[0 if attribute(node, "transB", 0) else 1])


def _share_limits(openvino: Any, model: Any) -> None:
    """Give each quantiser its limits as scalars, one for in and out where they are equal."""
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "FakeQuantize":
            limits = [_limit(operation, index) for index in LIMITS]
            made = {
                limit: openvino.opset13.constant(np.float32(limit)).output(0) for limit in limits if limit is not None
            }
            for index, limit in zip(LIMITS, limits, strict=True):
                if limit is not None:
                    operation.input(index).replace_source_output(made[limit])
    model.validate_nodes_and_infer_types()


def _limit(operation: Any, index: int) -> float | None:
    constant = operation.input_value(index).get_node()
    single = constant.get_type_name() == "Constant" and constant.get_byte_size() == np.float32().nbytes
    return float(constant.data.reshape(())) if single else None


def _drop_repeated(model: Any) -> None:
    """Leave out quantisers of what is quantised alike already and was only shaped since: they change nothing."""
    for operation in model.get_ordered_ops():
        if operation.get_type_name() == "FakeQuantize":
            source = operation.input_value(0).get_node()
            while source.get_type_name() in SHAPING:
                source = source.input_value(0).get_node()
            if source.get_type_name() == "FakeQuantize" and _grid(source) == _grid(operation):
                operation.output(0).replace(operation.input_value(0))


def _grid(operation: Any) -> tuple[Any, ...]:
    limits = tuple(_limit(operation, index) for index in LIMITS)
    return (operation.get_attributes()["levels"], *limits) if None not in limits else (operation.get_friendly_name(),)


def _name_weights(model: Any, source: onnx.ModelProto) -> None:
    """Name weights that the conversion has folded as they were called: a profile finds layers by them."""
    graph = Graph(source)
    weights = {node.output[0]: node.input[1] for node in graph.nodes if graph.constant(node, 1) is not None}
    for operation in model.get_ordered_ops():
        if operation.get_type_name() in WEIGHTED:
            weight, names = operation.input_value(1).get_node(), set(operation.output(0).get_names())
            for reader in operation.output(0).get_target_inputs():  # the bias, whose result bears the name
                names |= set(reader.get_node().output(0).get_names())
            known = [weights[name] for name in names if name in weights]
            if known and weight.get_type_name() == "Constant" and not weight.output(0).get_names():
                weight.set_friendly_name(known[0])


def _name_operations(model: Any) -> None:
    """Name each operation after its ONNX tensor, else by position: OpenVINO counts through the whole process."""
    for position, operation in enumerate(model.get_ordered_ops()):
        kind = operation.get_type_name()
        if kind not in ("Parameter", "Result"):
            tensors = sorted(name for output in operation.outputs() for name in output.get_names())
            operation.set_friendly_name(tensors[0] if tensors else f"{kind}.{position}")


def _reason(error: Exception) -> str:
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip("- ")]
    unknown = [line for line in lines if "No conversion rule" in line]
    named = re.search(r"<Node\((\w+)\): ([^>]*)>'?(.*?)(?:\n\n|\Z)", str(error), re.DOTALL)
    if named is not None and not unknown:  # what it could not convert, and, in the last line, why
        return f"{named[1]} {named[2]!r}: {named[3].strip().splitlines()[-1].strip()}"
    telling = unknown or [line for line in lines if "not supported" in line]
    return (telling or lines or [type(error).__name__])[0]
