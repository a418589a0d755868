"""What a model takes and gives, as the rest relies on it: settings baked in, float32, every batch first."""

from dataclasses import dataclass

import onnx

from edgekd.onnx_import.batch_first import batch_axis, batch_first
from edgekd.onnx_import.inputs import model_inputs
from edgekd.onnx_import.settings import Settings, bake
from edgekd.onnx_import.single_precision import in_float32


@dataclass(frozen=True)
class Uniform:
    """The model, where the batch of each input was before, and what a user has to know of it."""

    model: onnx.ModelProto
    batch_axes: dict[str, int]
    notes: tuple[str, ...]


def uniform(model: onnx.ModelProto, settings: Settings) -> Uniform:
    """An equivalent model with inputs and outputs in one form; raise BadInputError for settings that do not fit."""
    plain = in_float32(bake(model, settings))
    axes = {value.name: batch_axis(plain, value) for value in model_inputs(plain)}
    moved, notes = batch_first(plain)
    return Uniform(moved, axes, notes)
