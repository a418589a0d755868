"""Mixed precision: the layers that int8 hurts most stay in float, as few as a budget demands.

Where a target computes no layer in float, all activations get more bits instead.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from glob import escape

import onnx

from edgekd.onnx_graph import Array
from edgekd.quantization.calibrate import DEFAULT, Calibration, Calibrator
from edgekd.quantization.exchange import Steps
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


def by_error(calibrator: Calibrator, scheme: Scheme, batch: Arrays, keep_float: Sequence[str] = ()) -> Steps:
    """Return the layers in the order of `sensitivities`, one at a time."""
    return tuple((layer,) for layer in sensitivities(calibrator, scheme, batch, keep_float))


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
    plain = calibrator.quantized(scheme, always)
    if acceptable(plain):
        return Mixed(plain, (), met=True)
    if scheme.wider is not None:
        wide = calibrator.quantized(find_scheme(scheme.wider), always)
        return Mixed(wide, (), acceptable(wide))
    return fewest(calibrator, scheme, by_error(calibrator, scheme, samples[0], always), acceptable, always)


def fewest(
    calibrator: Calibrator,
    scheme: Scheme,
    steps: Steps,
    acceptable: Callable[[onnx.ModelProto], bool],
    keep_float: Sequence[str] = (),
) -> Mixed:
    """Keep the layers of as few steps in float, from the first, as make a model acceptable; of none it was not."""

    def attempt(count: int) -> Mixed:
        kept = tuple(layer for step in steps[:count] for layer in step)
        quantized = calibrator.quantized(scheme, (*keep_float, *map(escape, kept)))
        return Mixed(quantized, kept, acceptable(quantized))

    least, most, best = 0, len(steps), attempt(len(steps))
    while best.met and most - least > 1:
        middle = attempt((least + most) // 2)
        if middle.met:
            most, best = (least + most) // 2, middle
        else:
            least = (least + most) // 2
    return best
