"""Post-training quantisation: a float ONNX model in, a QDQ model out."""

from collections.abc import Iterable

import numpy as np
import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array
from edgekd.quantization.bias_correction import correct_biases
from edgekd.quantization.clean import clean
from edgekd.quantization.equalize import equalize
from edgekd.quantization.onnx_view import view_of
from edgekd.quantization.placement import Placement, place
from edgekd.quantization.qdq import insert_activations, is_quantized, quantize_weights
from edgekd.quantization.ranges import Affine, Method, affine, batch_range, combine
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme

Range = tuple[float, float]


def calibrate(
    model: onnx.ModelProto,
    scheme: Scheme,
    batches: Iterable[dict[str, Array]],
    keep_float: Iterable[str] = (),
    method: Method = "minmax",
    *,
    equalized: bool = False,
    corrected: bool = False,
) -> onnx.ModelProto:
    """Quantise a float model with the ranges that its edges show over `batches` (float arrays by input name).

    `keep_float` are globs over layer and edge names. `equalized` evens out channel ranges first, `corrected` takes the
    mean error of rounded weights out of the biases. The argument is untouched. Raises BadInputError for a model that is
    quantised already, for no batches, and for values that are not finite.
    """
    if is_quantized(model):
        raise BadInputError("the model is quantised already; calibrate its float original")
    plain = clean(model)
    samples = list(batches) if corrected else batches  # which are read twice then
    if equalized:
        plain = equalize(plain)
    placement = place(view_of(plain), scheme, keep_float)
    ranges = observe(plain, placement.observed, samples, scheme, method)
    if corrected:
        plain = correct_biases(plain, scheme, placement.weights, samples)
    quantized = insert_activations(plain, parameters(placement, ranges, scheme), scheme)
    return quantize_weights(quantized, scheme, placement.weights)


def observe(
    model: onnx.ModelProto,
    edges: Iterable[str],
    batches: Iterable[dict[str, Array]],
    scheme: Scheme,
    method: Method = "minmax",
) -> dict[str, Range]:
    """Range of each edge over the batches."""
    watched = tuple(edges)
    reference = Reference(model, watched)
    seen: dict[str, list[Range]] = {edge: [] for edge in watched}
    empty = True
    for batch in batches:
        empty = False
        values = {**batch, **reference.run(batch)}
        for edge in watched:
            seen[edge].append(_finite(edge, batch_range(values[edge], method, scheme)))
    if empty:
        raise BadInputError("calibration needs at least one batch of inputs")
    return {edge: combine(ranges, method) for edge, ranges in seen.items()}


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
