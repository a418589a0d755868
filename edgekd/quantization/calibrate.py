"""Post-training quantisation: a float ONNX model in, a QDQ model out."""

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array
from edgekd.plugins import nearest
from edgekd.quantization.bias_correction import averaged_axes, bias_shifts, corrected_inputs, shift_biases
from edgekd.quantization.clean import clean
from edgekd.quantization.equalize import equalize
from edgekd.quantization.observation import Observation, Range
from edgekd.quantization.onnx_view import view_of
from edgekd.quantization.placement import Placement, place
from edgekd.quantization.qdq import insert_activations, is_quantized, quantize_weights
from edgekd.quantization.ranges import METHODS, Affine, Method, affine
from edgekd.quantization.scheme import Scheme

Arrays = dict[str, Array]


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
    batches: Iterable[Arrays],
    keep_float: Iterable[str] = (),
    how: Calibration = DEFAULT,
) -> onnx.ModelProto:
    """Quantise a float model with the ranges that its edges show over `batches` (float arrays by input name).

    `keep_float` are patterns as `selection.select` takes them. The argument is untouched. Raises BadInputError for a
    model that is quantised already, for no batches, and for values that are not finite.
    """
    return Calibrator(model, batches, how).quantized(scheme, keep_float)


class Calibrator:
    """Quantised forms of one float model, for any scheme and with any layers in float, after one look at its samples.

    `plain` is the model that they stand for, tensor by tensor. Raises BadInputError as `calibrate` does.
    """

    def __init__(self, model: onnx.ModelProto, batches: Iterable[Arrays], how: Calibration = DEFAULT) -> None:
        self.plain, self.how = plain(model, how), how
        self.view = view_of(self.plain)
        self._observation = Observation(self.plain, batches, how.ranges)
        self._shifts: dict[tuple[Scheme, str], Array] = {}

    def quantized(self, scheme: Scheme, keep_float: Iterable[str] = ()) -> onnx.ModelProto:
        """Return the model in a scheme; patterns as `selection.select` takes them."""
        placement, affines = self.placed(scheme, keep_float)
        corrected = self._corrected(scheme, placement) if self.how.correct_bias else self.plain
        quantized = insert_activations(corrected, affines, scheme)
        return quantize_weights(quantized, scheme, placement.weights)

    def placed(self, scheme: Scheme, keep_float: Iterable[str] = ()) -> tuple[Placement, dict[str, Affine]]:
        """Return where quantisers go, and the scale and zero point of each."""
        kept = tuple(keep_float)
        first = place(self.view, scheme, kept)
        watched = dict.fromkeys((*first.observed, *first.joined))
        averaged = averaged_axes(self.plain, self._unknown(scheme, first)) if self.how.correct_bias else {}
        self._observation.look(watched, averaged)
        placement = place(self.view, scheme, kept, self._observation.ranges(watched, scheme))
        self._observation.look(placement.observed)
        return placement, parameters(placement, self._observation.ranges(placement.observed, scheme), scheme)

    def _corrected(self, scheme: Scheme, placement: Placement) -> onnx.ModelProto:
        """The plain model with the biases of the layers that are quantised corrected."""
        missing = self._unknown(scheme, placement)
        self._observation.look((), averaged_axes(self.plain, missing))
        means = self._observation.taken_means(missing.values())
        found = bias_shifts(self.plain, scheme, missing, means)
        self._shifts |= {(scheme, product): shift for product, shift in found.items()}
        corrected = corrected_inputs(self.plain, placement.weights)
        return shift_biases(self.plain, {product: self._shifts[scheme, product] for product in corrected})

    def _unknown(self, scheme: Scheme, placement: Placement) -> dict[str, str]:
        """What those products of a placement read whose shifts in a scheme are not known yet."""
        inputs = corrected_inputs(self.plain, placement.weights)
        return {product: edge for product, edge in inputs.items() if (scheme, product) not in self._shifts}


def plain(model: onnx.ModelProto, how: Calibration) -> onnx.ModelProto:
    """The float model that a calibrated one stands for, tensor by tensor; BadInputError if it holds quantisers."""
    if is_quantized(model):
        raise BadInputError("the model is quantised already; calibrate its float original")
    return equalize(clean(model)) if how.equalize else clean(model)


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
