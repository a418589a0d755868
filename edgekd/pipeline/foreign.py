"""A foreign ONNX file → a bundle: float models are calibrated, QDQ models of the target's scheme keep their scales."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from edgekd.bundle import Range
from edgekd.confined import parsing
from edgekd.data.ranges import range_of
from edgekd.errors import BadInputError, PromiseBrokenError
from edgekd.files import sha256
from edgekd.onnx_import.batch import ADVICE as DYNAMIC
from edgekd.onnx_import.batch import static_batch
from edgekd.onnx_import.batch_first import outputs_batch_first
from edgekd.onnx_import.floats import import_float
from edgekd.onnx_import.inputs import Shapes, read_inputs, shapes_in
from edgekd.onnx_import.own_ranges import hold_against_own
from edgekd.onnx_import.quantized import holds_integers, import_quantized
from edgekd.onnx_import.read import read_model
from edgekd.onnx_import.settings import Settings
from edgekd.onnx_import.uniform import uniform
from edgekd.pipeline.calibrated import batches_of, lost_by_layer
from edgekd.pipeline.export import export_and_verify
from edgekd.pipeline.fallback import fall_back
from edgekd.pipeline.parity_evidence import PARITY_INPUTS
from edgekd.pipeline.refined import described, refine_where_far, rows_of
from edgekd.quantization.calibrate import Calibration, Calibrator
from edgekd.quantization.float_fallback import asked_layers
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.refine import Refined
from edgekd.quantization.scheme import find_scheme, schemes_of
from edgekd.reading import reading
from edgekd.target import Target, load_target

Arrays = dict[str, NDArray[Any]]
FOR_FLOATS = ("--ranges", "--equalize", "--correct-bias", "--keep-float")


@dataclass(frozen=True)
class Wishes:
    """How a foreign file is to be imported and quantised.

    Attributes:
        shapes: sizes of free dimensions by input, batch included; calibration data fix them by themselves.
        settings: inputs that become constants.
        simplify: whether onnxslim simplifies a float model.
        options: fields of `Calibration`; like `keep_float`, for float models alone.
        keep_float: globs of what stays in float.
        refine_seconds: the longest that tensors to keep in float are sought where int8 is far from it; 0: not at all.
    """

    shapes: Shapes = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)
    simplify: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    keep_float: Sequence[str] = ()
    refine_seconds: float = 60.0


@dataclass(frozen=True)
class Imported:
    """A model that calibration can take, or that is quantised already, with inputs and what a user has to know."""

    model: onnx.ModelProto
    quantized: bool
    inputs: Arrays
    ranges: Mapping[str, Range]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Quantized:
    """A QDQ model, the float one that it must resemble, and what was done where int8 was far from it."""

    model: onnx.ModelProto
    original: onnx.ModelProto
    refined: Refined | None = None


def export_file(
    path: Path,
    target_name: str,
    out: Path,
    calibration: Path | None = None,
    wishes: Wishes | None = None,
    *,
    layers: bool = False,
) -> dict[str, Any]:
    """Write `out/<model>-<target>` and prove it on this machine; the status is `unverified` where it cannot run.

    Where int8 is far from a float model, its costliest tensors stay in float. Where that is not enough another
    precision is written: the status is `fallback`. `layers` adds what each layer loses.
    Raises BadInputError for a model or data that cannot be used, PromiseBrokenError when parity does not hold.
    """
    target, wishes = load_target(target_name), wishes or Wishes()
    how = Calibration(**wishes.options)
    imported = _imported(path, target, calibration, wishes)
    with reading(path, "a model that can be calibrated"):
        quantized = _quantized(imported, target, how, wishes)
    report = _delivered(path, target, out, imported, quantized)
    if not layers:
        return report
    original = None if imported.quantized else quantized.original
    return report | {"layers": lost_by_layer(quantized.model, next(batches_of(imported.inputs)), original, how)}


def _imported(path: Path, target: Target, calibration: Path | None, wishes: Wishes) -> Imported:
    with parsing(path, calibration, "a model that can be imported"):
        seen = (lambda model: shapes_in(model, calibration)) if calibration else None
        plain = uniform(read_model(path), wishes.settings, wishes.shapes, seen)
        inputs = read_inputs(plain.model, calibration, PARITY_INPUTS, plain.batch_axes) if calibration else None
        model, moved = outputs_batch_first(plain.model, inputs)
        quantized = holds_integers(model)
        ranges = {name: range_of(array) for name, array in (inputs or {}).items() if array.dtype.kind == "f"}
        if not quantized and inputs is None:
            raise BadInputError("it is a float model: --calibration X.npz with some of its inputs is needed")
        if quantized and (wishes.options or wishes.keep_float):
            raise BadInputError(f"it is quantised and keeps its scales: {', '.join(FOR_FLOATS)} are for float models")
        if inputs is not None and not quantized:
            model = import_float(model, inputs, plain.shapes, slim=wishes.simplify)
        else:
            hold_against_own(model, inputs or {})
            model, inputs = import_quantized(model, find_scheme(target.scheme), inputs, plain.shapes, PARITY_INPUTS)
    notes = (*plain.notes, *moved, *_on_batches(static_batch(plain.model), static_batch(model)))
    return Imported(model, quantized, inputs, ranges, notes)


def _on_batches(given: int | None, built_in: int | None) -> tuple[str, ...]:
    """What a user has to know of a batch that is built in, in the file as `given` or by the import."""
    if built_in is None:
        return ()
    if given is None:
        return ("it takes samples one by one: what it makes of one depends on the others of its batch",)
    return (f"it takes batches of {built_in} alone, which are built in: {DYNAMIC} for others",)


def _quantized(imported: Imported, target: Target, how: Calibration, wishes: Wishes) -> Quantized:
    """The model in the target's scheme; QDQ must resemble its own weights with float activations."""
    if imported.quantized:
        return Quantized(imported.model, strip_activations(imported.model, saturating=True)[0])
    original, inputs, keep, (scheme,) = imported.model, imported.inputs, wishes.keep_float, schemes_of([target])
    calibrator = Calibrator(original, batches_of(inputs), how)
    found = Quantized(calibrator.quantized(scheme, keep), original)
    if not wishes.refine_seconds or not scheme.float_tail:
        return found
    refined = refine_where_far(calibrator, scheme, inputs, found.model, keep, wishes.refine_seconds)
    return found if refined is None else Quantized(refined.model, original, refined)


def _delivered(path: Path, target: Target, out: Path, imported: Imported, quantized: Quantized) -> dict[str, Any]:
    """The bundle's report; where not even refined int8 is proven, that of another precision of a float model."""
    inputs, refined, built_in = imported.inputs, quantized.refined, static_batch(quantized.model)
    target = target.at_batch(built_in) if built_in else target
    folder, about = out / f"{path.stem}-{target.name}", [described(refined)] if refined else []
    named: dict[str, Any] = {
        "name": path.stem,
        "provenance": {"source": path.name, "source_sha256": sha256(path)},
        "notes": (*imported.notes, *about),
    }
    report: dict[str, Any] = {"refined": rows_of(refined)} if refined else {}
    try:
        _require_int8(quantized)
        report |= export_and_verify(
            quantized.model, target, folder, inputs, original=quantized.original, ranges=imported.ranges, **named
        )
        weak: str | None = report["reason"] if report["parity"] else None
    except PromiseBrokenError as error:
        if imported.quantized:
            raise
        weak = str(error)
    if imported.quantized or weak is None:
        return report
    return report | fall_back(quantized.original, target, folder, inputs, why=weak, **named)


def _require_int8(quantized: Quantized) -> None:
    """Raise PromiseBrokenError where all that int8 could take had to stay in float."""
    int8, floats = asked_layers(quantized.model)
    if quantized.refined is not None and floats and not int8:
        before = quantized.refined.before
        raise PromiseBrokenError(
            f"int8 is {before.db:.1f} dB from float, and each of its {floats} layers has to stay there"
        )
