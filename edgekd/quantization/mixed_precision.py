"""Mixed precision: the layers that int8 hurts most stay in float, as few as a budget demands.

Where a target computes no layer in float, all activations get more bits instead.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from glob import escape

import onnx

from edgekd.onnx_graph import Array
from edgekd.quantization.calibrate import DEFAULT, Calibration, Calibrator
from edgekd.quantization.placement import kernel_edges
from edgekd.quantization.scheme import Scheme, find_scheme
from edgekd.quantization.sensitivity import Ranking, Switched, tensor_switch, weight_switch

Arrays = dict[str, Array]


@dataclass(frozen=True)
class Mixed:
    """A quantised model, and the layers that it keeps in float; `met` says whether the budget holds."""

    model: onnx.ModelProto
    kept: tuple[str, ...]
    met: bool


def sensitivities(
    calibrator: Calibrator, scheme: Scheme, batch: Arrays, keep_float: Sequence[str] = ()
) -> dict[str, float]:
    """Return what each layer alone in int8 costs the outputs, noise over signal, the most sensitive first."""
    placement, _ = calibrator.placed(scheme, keep_float)
    edges = kernel_edges(calibrator.view, scheme)
    units = {
        layer: frozenset({weight_switch(layer)})
        | {tensor_switch(placement.groups[edge]) for edge in edges[layer] if edge in placement.groups}
        for layer in edges
        if layer in placement.weights
    }
    ranking = Ranking(units, Switched(calibrator, scheme, batch, keep_float).cost)
    ranking.divide()
    return ranking.costs


def mix(
    model: onnx.ModelProto,
    scheme: Scheme,
    batches: Iterable[Arrays],
    acceptable: Callable[[onnx.ModelProto], bool],
    keep_float: Iterable[str] = (),
    how: Calibration = DEFAULT,
) -> Mixed:
    """Keep the fewest of the most sensitive layers in float that make a calibrated model acceptable.

    `acceptable` is the budget, asked log2(layers) times: a metric on the validation split, say. Where not even all
    layers in float are enough, all are kept and `met` is False. The first samples decide who is sensitive. A
    scheme that has a wider one keeps none: that takes its place.
    """
    samples, always = list(batches), tuple(keep_float)
    calibrator = Calibrator(model, samples, how)

    def attempt(kept: tuple[str, ...], scheme: Scheme = scheme) -> Mixed:
        quantized = calibrator.quantized(scheme, (*always, *map(escape, kept)))
        return Mixed(quantized, kept, acceptable(quantized))

    best = attempt(())
    if best.met:
        return best
    if scheme.wider is not None:
        return attempt((), find_scheme(scheme.wider))
    order = tuple(sensitivities(calibrator, scheme, samples[0], always))
    least, best = 0, attempt(order)
    while best.met and len(best.kept) - least > 1:
        middle = attempt(order[: (least + len(best.kept)) // 2])
        least, best = (least, middle) if middle.met else (len(middle.kept), best)
    return best
