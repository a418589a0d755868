"""An ONNX file → a checked model that holds all its data."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import onnx
from onnx import external_data_helper, inliner, numpy_helper

from edgekd.errors import BadInputError
from edgekd.onnx_graph import check, inferred, label, sort_nodes
from edgekd.onnx_import.group_norm import write_out_group_norms
from edgekd.onnx_import.labels import give_rows_for_maps
from edgekd.onnx_import.size_limits import require_within_limits
from edgekd.onnx_import.unroll import unrolled
from edgekd.reading import reading, require_file

LIMIT = 2**31 - 1  # what protobuf can hold, and with it a session of ONNX Runtime
OPSETS = range(7, 25)
STANDARD = frozenset({"", "ai.onnx"})
CONTRIBUTED = frozenset({"ai.onnx.ml", "com.microsoft"})  # ONNX Runtime has them: they can be folded or expanded


def read_model(path: Path) -> onnx.ModelProto:
    """A checked model of opset 7 to 24, external data loaded, functions inlined, IR 4 at least.

    Raises BadInputError in one line for a file that is absent, corrupt, larger than 2 GB, or of another opset.
    """
    with reading(path, "a valid ONNX model"):
        return _self_contained(_parsed(require_file(path)), path.parent)


def _parsed(path: Path) -> onnx.ModelProto:
    size = path.stat().st_size
    _require_small(size)
    model: onnx.ModelProto = onnx.ModelProto.FromString(path.read_bytes())
    if not model.graph.output:
        raise BadInputError("not a valid ONNX model: it has no outputs")
    model = unrolled(model)
    require_within_limits(model)
    opset = opset_of(model)
    _require_known_operators(model)
    give_rows_for_maps(model)
    _require_tensors(model)
    if opset not in OPSETS:
        raise BadInputError(
            f"opset {opset} is not supported: export again with one from {OPSETS.start} to {OPSETS.stop - 1}"
        )
    return model


def _require_known_operators(model: onnx.ModelProto) -> None:
    """Custom operators have no meaning here: the reference could not say what they compute."""
    own = {function.domain for function in model.functions}
    for node in model.graph.node:
        if node.domain not in STANDARD | CONTRIBUTED | own:
            raise BadInputError(
                f"{node.op_type} {label(node)!r} is an operator of {node.domain!r}, which no backend has: "
                "export the model with standard operators"
            )


def _require_tensors(model: onnx.ModelProto) -> None:
    """Sequences and maps have no place in a bundle, and inside a network hardly a runtime has them."""
    for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            if value.type.WhichOneof("value") not in {"tensor_type", None}:
                advice = "export it with tensors alone (skl2onnx: options={'zipmap': False})"
                raise BadInputError(f"{kind} {value.name!r} is no tensor but a sequence or map: {advice}")
    for node in model.graph.node:
        if node.op_type.startswith("Sequence") or node.op_type.endswith(("ToSequence", "FromSequence")):
            advice = "export it with Split, Gather and Concat"
            raise BadInputError(f"{node.op_type} {label(node)!r}: sequences of tensors are not supported: {advice}")


def _self_contained(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    external = [tensor for tensor in _tensors(model) if external_data_helper.uses_external_data(tensor)]
    _require_small(model.ByteSize() + sum(_external_bytes(tensor, folder) for tensor in external))
    for tensor in external:
        external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    model.ir_version = max(model.ir_version, 4)  # before 4 every initialiser had to be an input, too
    sort_nodes(model)
    write_out_group_norms(model, opset_of(model))
    if not all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        model = inferred(model)  # the checker asks for what nobody needs to declare
    check(model)
    for tensor in _tensors(model):
        numpy_helper.to_array(tensor)
    if model.functions:
        model = inliner.inline_local_functions(model)
    return model


def _external_bytes(tensor: onnx.TensorProto, folder: Path) -> int:
    """Size of what lies beside the model; raise BadInputError where that is not a file of its own folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    place = PurePosixPath(location)
    path = folder / location
    unsafe = place.is_absolute() or ".." in place.parts or "\\" in location or not place.parts
    if unsafe or not path.resolve().is_relative_to(folder.resolve()):
        raise BadInputError(f"external data {location!r} of {tensor.name!r} leave the model's folder")
    if not path.is_file():
        raise BadInputError(f"external data {location!r} of {tensor.name!r} are missing: put the file beside the model")
    offset = int(entries.get("offset", 0))
    length = int(entries.get("length", path.stat().st_size - offset))
    if offset < 0 or length < 0 or offset + length > path.stat().st_size:
        raise BadInputError(f"external data {location!r} end before those of {tensor.name!r}: the file is truncated")
    return length


def _require_small(size: int) -> None:
    if size > LIMIT:
        raise BadInputError(f"{size / 2**30:.1f} GB of model, and ONNX holds 2 GB: split it, or export it in float16")


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operators; 0 where a model names none."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 0)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors
            for graph in [attribute.g] if attribute.HasField("g") else []:
                yield from _graph_tensors(graph)
            for graph in attribute.graphs:
                yield from _graph_tensors(graph)
