"""Mixed precision: the layers that int8 hurts most stay in float, as few as a budget demands."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from glob import escape

import numpy as np
import onnx

from edgekd.onnx_graph import Array
from edgekd.quantization.calibrate import DEFAULT, Calibration, calibrate, parameters, placed_by_ranges, plain
from edgekd.quantization.onnx_view import view_of
from edgekd.quantization.placement import kernel_edges
from edgekd.quantization.qdq import insert_activations, quantize_weights
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme

Batches = list[dict[str, Array]]


@dataclass(frozen=True)
class Sensitivity:
    """What one layer alone in int8 does to the outputs: squared error per squared signal."""

    layer: str
    error: float


@dataclass(frozen=True)
class Mixed:
    """A quantised model, and the layers that it keeps in float; `met` says whether the budget holds."""

    model: onnx.ModelProto
    kept: tuple[str, ...]
    met: bool


def sensitivities(
    model: onnx.ModelProto,
    scheme: Scheme,
    batches: Iterable[dict[str, Array]],
    keep_float: Iterable[str] = (),
    how: Calibration = DEFAULT,
) -> tuple[Sensitivity, ...]:
    """Each layer of a float model quantised alone, the most sensitive first; errors as in `calibrate`."""
    original, samples = plain(model, how), list(batches)
    view = view_of(original)
    placement, ranges = placed_by_ranges(original, scheme, samples, tuple(keep_float), how)
    edges = kernel_edges(view, scheme)
    settled, exact = parameters(placement, ranges, scheme), _answers(original, samples)
    found = []
    for layer in sorted(placement.weights):
        alone = {edge: settled[edge] for edge in edges[layer] if edge in settled}
        quantized = quantize_weights(insert_activations(original, alone, scheme), scheme, {layer})
        found.append(Sensitivity(layer, _error(exact, _answers(quantized, samples))))
    return tuple(sorted(found, key=lambda each: -each.error))


def mix(
    model: onnx.ModelProto,
    scheme: Scheme,
    batches: Iterable[dict[str, Array]],
    acceptable: Callable[[onnx.ModelProto], bool],
    keep_float: Iterable[str] = (),
    how: Calibration = DEFAULT,
) -> Mixed:
    """Keep the fewest of the most sensitive layers in float that make a calibrated model acceptable.

    `acceptable` is the budget, asked log2(layers) times: a metric on the validation split, say. Where not even all
    layers in float are enough, all are kept and `met` is False. The first batch decides who is sensitive.
    """
    samples, always = list(batches), tuple(keep_float)

    def attempt(kept: tuple[str, ...]) -> Mixed:
        quantized = calibrate(model, scheme, samples, (*always, *map(escape, kept)), how)
        return Mixed(quantized, kept, acceptable(quantized))

    best = attempt(())
    if best.met:
        return best
    order = tuple(each.layer for each in sensitivities(model, scheme, samples[:1], always, how))
    least, best = 0, attempt(order)
    while best.met and len(best.kept) - least > 1:
        middle = attempt(order[: (least + len(best.kept)) // 2])
        least, best = (least, middle) if middle.met else (len(middle.kept), best)
    return best


def _answers(model: onnx.ModelProto, batches: Batches) -> list[dict[str, Array]]:
    reference = Reference(model)
    return [reference.run(batch) for batch in batches]


def _error(exact: list[dict[str, Array]], rounded: list[dict[str, Array]]) -> float:
    """The worst output's error over all batches."""
    errors = []
    for name in exact[0]:
        real = np.concatenate([batch[name].reshape(-1) for batch in exact]).astype(np.float64)
        ours = np.concatenate([batch[name].reshape(-1) for batch in rounded])
        errors.append(float(np.sum((real - ours) ** 2) / max(np.sum(real**2), 1e-300)))
    return max(errors)
