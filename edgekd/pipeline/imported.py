"""A foreign ONNX file and its samples, as calibration takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from edgekd.bundle import Range
from edgekd.confined import parsing
from edgekd.data.ranges import range_of
from edgekd.errors import BadInputError
from edgekd.onnx_import.batch import ADVICE as DYNAMIC
from edgekd.onnx_import.batch import static_batch
from edgekd.onnx_import.batch_first import outputs_batch_first
from edgekd.onnx_import.floats import import_float
from edgekd.onnx_import.inputs import Shapes
from edgekd.onnx_import.own_ranges import hold_against_own
from edgekd.onnx_import.quantized import holds_integers, import_quantized
from edgekd.onnx_import.read import read_model
from edgekd.onnx_import.run_time_scales import described, in_float_layers
from edgekd.onnx_import.samples import Samples
from edgekd.onnx_import.settings import Settings
from edgekd.onnx_import.uniform import uniform
from edgekd.pipeline.parity_evidence import PARITY_INPUTS
from edgekd.quantization.refine import SECONDS
from edgekd.quantization.scheme import find_scheme
from edgekd.tasks import Task

Arrays = dict[str, NDArray[Any]]
IN_TIME = "if its first dimension is time and no batch, give it samples with one dimension more"
FOR_FLOATS = ("--ranges", "--equalize", "--correct-bias", "--keep-float", "--mixed")


@dataclass(frozen=True)
class Wishes:
    """How a foreign file is to be imported and quantised.

    Attributes:
        shapes: sizes of free dimensions by input, batch included; calibration data fix them by themselves.
        settings: inputs that become constants.
        simplify: whether a float model is simplified.
        options: fields of `Calibration`; like `keep_float`, for float models alone.
        keep_float: globs of what stays in float.
        refine_seconds: the longest that tensors to keep in float are sought where int8 is far from it; 0: int8 stays.
        mixed_db: how near float the outputs have to be, by layers that stay in float for what they cost here.
        task: what the model was taught, where somebody says so.
    """

    shapes: Shapes = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    simplify: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    keep_float: Sequence[str] = ()
    refine_seconds: float = SECONDS
    mixed_db: float | None = None
    task: Task | None = None


@dataclass(frozen=True)
class Imported:
    """A model that calibration can take, or that is quantised already, with inputs and what a user has to know."""

    model: onnx.ModelProto
    quantized: bool
    inputs: Arrays
    ranges: Mapping[str, Range]
    notes: tuple[str, ...]


def import_file(path: Path, scheme: str, samples: Samples | None, wishes: Wishes) -> Imported:
    """Read a file and its samples; a float model is the same for every scheme.

    Raises BadInputError for a model or data that cannot be used.
    """
    with parsing(path, samples.path if samples else None, "a model that can be imported"):
        plain = uniform(read_model(path), wishes.settings, wishes.shapes, samples.shapes if samples else None)
        inputs = samples.read(plain.model, PARITY_INPUTS, plain.batch_axes) if samples else None
        given = static_batch(plain.model)
        given_model, moved = outputs_batch_first(plain.model, inputs)
        model = in_float_layers(given_model)
        quantized = holds_integers(model)
        ranges = {name: range_of(array) for name, array in (inputs or {}).items() if array.dtype.kind == "f"}
        if not quantized and inputs is None:
            raise BadInputError("it is a float model: --calibration X.npz with some of its inputs is needed")
        if quantized and (wishes.options or wishes.keep_float or wishes.mixed_db is not None):
            raise BadInputError(f"it is quantised and keeps its scales: {', '.join(FOR_FLOATS)} are for float models")
        dequantized = () if quantized else described(given_model, model, inputs)
        if inputs is not None and not quantized:
            model = import_float(model, inputs, plain.shapes, slim=wishes.simplify)
        else:
            hold_against_own(model, inputs or {})
            model, inputs = import_quantized(model, find_scheme(scheme), inputs, plain.shapes, PARITY_INPUTS)
    on_batches = _on_batches(given, static_batch(model))
    return Imported(
        model,
        quantized,
        inputs,
        ranges,
        (*plain.notes, *moved, *dequantized, *on_batches, *(samples.notes if samples else ())),
    )


def _on_batches(given: int | None, built_in: int | None) -> tuple[str, ...]:
    """What a user has to know of a batch that is built in, in the file as `given` or by the import."""
    if built_in is None:
        return ()
    if given is None:
        return (f"it takes samples one by one: what it makes of one depends on the others of its batch; {IN_TIME}",)
    return (f"it takes batches of {built_in} alone, which are built in: {DYNAMIC} for others",)
