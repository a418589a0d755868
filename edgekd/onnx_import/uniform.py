"""What a model takes and gives, as the rest relies on it: settings baked in, float32, every batch first."""

from dataclasses import dataclass

import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import label
from edgekd.onnx_import.batch_first import batch_axis, inputs_batch_first
from edgekd.onnx_import.inputs import Shapes, model_inputs, sizes_of
from edgekd.onnx_import.settings import Settings, bake
from edgekd.onnx_import.shapes import declare
from edgekd.onnx_import.simplify import simplify
from edgekd.onnx_import.single_precision import in_float32


@dataclass(frozen=True)
class Uniform:
    """The model, where the batch of each input was before, sizes that were given, and what a user has to know."""

    model: onnx.ModelProto
    batch_axes: dict[str, int]
    shapes: Shapes
    notes: tuple[str, ...]


def uniform(model: onnx.ModelProto, settings: Settings, shapes: Shapes | None = None) -> Uniform:
    """An equivalent model whose inputs have one form; raise BadInputError for settings that do not fit.

    Branches go whose condition is known once the settings and the `shapes` are, batch included.
    """
    plain, shapes = in_float32(bake(model, settings)), shapes or {}
    if _branches(plain):
        plain = _without_branches(plain, shapes)
    axes = {value.name: batch_axis(plain, value) for value in model_inputs(plain)}
    moved, notes = inputs_batch_first(plain)
    return Uniform(
        moved, axes, {name: _batch_to_front(shape, axes.get(name, 0)) for name, shape in shapes.items()}, notes
    )


def _batch_to_front(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (shape[axis], *shape[:axis], *shape[axis + 1 :]) if axis < len(shape) else shape


def _branches(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "If"]


def _without_branches(model: onnx.ModelProto, shapes: Shapes) -> onnx.ModelProto:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in model_inputs(fixed):
        if value.name in shapes:
            declare(value, shapes[value.name])
    fixed.graph.ClearField("value_info")
    plain = simplify(fixed)
    left = _branches(plain)
    if left:
        wanted = " ".join(
            f"--shape {value.name}={','.join(str(size or '?') for size in sizes_of(value))}"
            for value in model_inputs(plain)
            if None in sizes_of(value)
        )
        advice = f"fix all sizes, the batch too: {wanted} (numbers for ?)" if wanted else "export it without branches"
        raise BadInputError(f"{left[0].op_type} {label(left[0])!r} goes one way or the other: {advice}")
    return plain
