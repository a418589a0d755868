"""What a model takes and gives, as the rest relies on it: settings baked in, float32, every batch first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import label
from edgekd.onnx_import.batch_first import batch_axis, inputs_batch_first
from edgekd.onnx_import.branches import branches, without_decided_branches
from edgekd.onnx_import.inputs import Shapes, model_inputs, sizes_of
from edgekd.onnx_import.labels import with_own_outputs
from edgekd.onnx_import.settings import Settings, bake
from edgekd.onnx_import.shapes import declare, named_sizes
from edgekd.onnx_import.single_precision import in_float32
from edgekd.onnx_import.without_batch import with_batch_of_one

Sizes = Mapping[str, Sequence[int | None]]


@dataclass(frozen=True)
class Uniform:
    """The model, where the batch of each input was before, sizes that were given, and what a user has to know."""

    model: onnx.ModelProto
    batch_axes: dict[str, int]
    shapes: Shapes
    notes: tuple[str, ...]


def uniform(
    model: onnx.ModelProto,
    settings: Settings,
    shapes: Shapes | None = None,
    seen: Callable[[onnx.ModelProto], Shapes] | None = None,
) -> Uniform:
    """An equivalent model whose inputs have one form; raise BadInputError for settings that do not fit.

    Branches go whose condition is known once the settings and the `shapes` are, batch included; `seen` gives, for the
    model with its settings, shapes of samples, which settle what is left: for any batch, else for batches of one.
    A size that `shapes` give is the size of every dimension called like its own.
    """
    numbers, left_out = with_own_outputs(model)
    plain, shapes = in_float32(bake(numbers, settings)), shapes or {}
    of_samples = seen(plain) if seen else {}
    plain, told = with_batch_of_one(plain, {**of_samples, **shapes})
    alike = named_sizes(plain, shapes)
    shapes = {**alike, **shapes}
    if branches(plain):
        plain = _without_branches(plain, [shapes, *(_sizes_seen(plain, shapes, of_samples) if seen else ())])
    plain = _one_by_one(plain)
    axes = {value.name: batch_axis(plain, value) for value in model_inputs(plain)}
    moved, notes = inputs_batch_first(plain)
    shapes = {name: _batch_to_front(shape, axes.get(name, 0)) for name, shape in shapes.items()}
    for value in model_inputs(moved):
        if value.name in alike:
            declare(value, [sizes_of(value)[0], *shapes[value.name][1:]])
    return Uniform(moved, axes, shapes, (*left_out, *told, *notes))


def _one_by_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in batches of one, where inputs of fixed sizes, such as states, have room for one sample alone."""
    sizes = {value.name: sizes_of(value) for value in model_inputs(model) if sizes_of(value)}
    fixed = [each for each in sizes.values() if None not in each]
    if not fixed or not all(1 in each for each in fixed) or all(each[0] for each in sizes.values()):
        return model
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    for value in model_inputs(alone):
        if None in sizes.get(value.name, ()):
            declare(value, [sizes[value.name][0] or 1, *sizes[value.name][1:]])
    return alone


def _sizes_seen(model: onnx.ModelProto, given: Shapes, seen: Shapes) -> list[Sizes]:
    """The sizes of samples where none are given: with a free batch, and with batches of one."""
    axes = {value.name: batch_axis(model, value) for value in model_inputs(model)}
    found: list[Sizes] = []
    for batch in (None, 1):
        sizes = {name: (*shape[: axes[name]], batch, *shape[axes[name] + 1 :]) for name, shape in seen.items()}
        found.append({**sizes, **given})
    return found


def _batch_to_front(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (shape[axis], *shape[:axis], *shape[axis + 1 :]) if axis < len(shape) else shape


def _without_branches(model: onnx.ModelProto, choices: Sequence[Sizes]) -> onnx.ModelProto:
    """The model at the first of the choices of sizes that decide all its branches."""
    first = plain = _decided(model, choices[0])
    for sizes in choices[1:]:
        if not branches(plain):
            break
        plain = _decided(model, sizes)
    if branches(plain):
        raise BadInputError(_undecided(first))
    return plain


def _decided(model: onnx.ModelProto, sizes: Sizes) -> onnx.ModelProto:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in model_inputs(fixed):
        if value.name in sizes:
            declare(value, sizes[value.name])
    fixed.graph.ClearField("value_info")
    return without_decided_branches(fixed)


def _undecided(model: onnx.ModelProto) -> str:
    """What to say of the first branch that is left."""
    sizes = {value.name: sizes_of(value) for value in model_inputs(model)}
    wanted = [f"--set {name}=?" for name, each in sizes.items() if not each]
    wanted += [
        f"--shape {name}={','.join(str(size or '?') for size in each)}" for name, each in sizes.items() if None in each
    ]
    what = "settings and sizes, the batch too" if any(not each for each in sizes.values()) else "sizes, the batch too"
    advice = f"fix all {what}: {' '.join(wanted)} (numbers for ?)" if wanted else "export it without branches"
    branch = branches(model)[0]
    return f"{branch.op_type} {label(branch)!r} goes one way or the other: {advice}"
