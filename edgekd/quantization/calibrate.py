"""Post-training quantisation: a float ONNX model in, a QDQ model out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array
from edgekd.plugins import nearest
from edgekd.quantization.bias_correction import correct_biases
from edgekd.quantization.clean import clean
from edgekd.quantization.equalize import equalize
from edgekd.quantization.onnx_view import view_of
from edgekd.quantization.placement import Placement, place
from edgekd.quantization.qdq import insert_activations, is_quantized, quantize_weights
from edgekd.quantization.ranges import METHODS, Affine, Method, Observed, affine
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme

Range = tuple[float, float]


@dataclass(frozen=True)
class Calibration:
    """How a float model is quantised without training; the defaults lost least in `benchmarks/calibration.py`.

    Attributes:
        ranges: what decides the range of an activation; see `ranges.Observed`.
        equalize: even out the weights' channel ranges between layers first.
        correct_bias: take the mean error of rounded weights out of the biases.
    """

    ranges: Method = "mse"
    equalize: bool = False
    correct_bias: bool = True

    def __post_init__(self) -> None:
        if self.ranges not in METHODS:
            raise BadInputError(f"unknown ranges {self.ranges!r}{nearest(self.ranges, METHODS)}")


DEFAULT = Calibration()


def calibrate(
    model: onnx.ModelProto,
    scheme: Scheme,
    batches: Iterable[dict[str, Array]],
    keep_float: Iterable[str] = (),
    how: Calibration = DEFAULT,
) -> onnx.ModelProto:
    """Quantise a float model with the ranges that its edges show over `batches` (float arrays by input name).

    `keep_float` are patterns as `selection.select` takes them. The argument is untouched. Raises BadInputError for a
    model that is quantised already, for no batches, and for values that are not finite.
    """
    original, patterns = plain(model, how), tuple(keep_float)
    samples = list(batches) if how.correct_bias else batches  # which are read twice then
    placement, ranges = placed_by_ranges(original, scheme, samples, patterns, how)
    corrected = correct_biases(original, scheme, placement.weights, samples) if how.correct_bias else original
    quantized = insert_activations(corrected, parameters(placement, ranges, scheme), scheme)
    return quantize_weights(quantized, scheme, placement.weights)


def placed_by_ranges(
    model: onnx.ModelProto,
    scheme: Scheme,
    batches: Iterable[dict[str, Array]],
    keep_float: Sequence[str],
    how: Calibration,
) -> tuple[Placement, dict[str, Range]]:
    """Return the placement of a plain model, and the range of each edge that decides a scale."""
    view = view_of(model)
    first = place(view, scheme, keep_float)
    watched = dict.fromkeys((*first.observed, *first.joined))
    ranges = observe(model, watched, batches, scheme, how.ranges)
    placement = place(view, scheme, keep_float, ranges)
    return placement, {edge: ranges[edge] for edge in placement.observed}


def plain(model: onnx.ModelProto, how: Calibration) -> onnx.ModelProto:
    """The float model that a calibrated one stands for, tensor by tensor; BadInputError if it holds quantisers."""
    if is_quantized(model):
        raise BadInputError("the model is quantised already; calibrate its float original")
    return equalize(clean(model)) if how.equalize else clean(model)


def observe(
    model: onnx.ModelProto,
    edges: Iterable[str],
    batches: Iterable[dict[str, Array]],
    scheme: Scheme,
    method: Method,
) -> dict[str, Range]:
    """Range of each edge over the batches."""
    watched = tuple(edges)
    reference = Reference(model, watched)
    seen = {edge: Observed(method) for edge in watched}
    empty = True
    for batch in batches:
        empty = False
        values = {**batch, **reference.run(batch)}
        for edge in watched:
            seen[edge].add(values[edge])
    if empty:
        raise BadInputError("calibration needs at least one batch of inputs")
    return {edge: _finite(edge, values.range(scheme)) for edge, values in seen.items()}


def parameters(placement: Placement, ranges: dict[str, Range], scheme: Scheme) -> dict[str, Affine]:
    """Scale and zero point of each placed edge; a group covers the ranges of all its observed edges."""
    lows: dict[int, float] = {}
    highs: dict[int, float] = {}
    for edge, (low, high) in ranges.items():
        group = placement.groups[edge]
        lows[group] = min(low, lows.get(group, low))
        highs[group] = max(high, highs.get(group, high))
    return {
        edge: placement.fixed.get(edge) or affine(lows[group], highs[group], scheme)
        for edge, group in placement.groups.items()
    }


def _finite(edge: str, extremes: Range) -> Range:
    if not np.isfinite(extremes).all():
        advice = "check the preprocessing of the calibration inputs, then the float model itself"
        raise BadInputError(f"calibration met values that are not finite at {edge!r}: {advice}")
    return extremes
