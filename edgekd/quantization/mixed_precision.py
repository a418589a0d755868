"""Mixed precision: the layers that int8 hurts most stay in float, as few as a budget demands."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import onnx

from edgekd.onnx_graph import Array
from edgekd.quantization.calibrate import calibrate, observe, parameters
from edgekd.quantization.clean import clean
from edgekd.quantization.onnx_view import view_of
from edgekd.quantization.placement import kernel_edges, place
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
    model: onnx.ModelProto, scheme: Scheme, batches: Iterable[dict[str, Array]], keep_float: Iterable[str] = ()
) -> tuple[Sensitivity, ...]:
    """Each layer of a float model quantised alone, the most sensitive first; errors as in `calibrate`."""
    plain, samples = clean(model), list(batches)
    view = view_of(plain)
    placement, edges = place(view, scheme, keep_float), kernel_edges(view, scheme)
    settled = parameters(placement, observe(plain, placement.observed, samples, scheme), scheme)
    exact = _answers(plain, samples)
    found = []
    for layer in sorted(placement.weights):
        alone = {edge: settled[edge] for edge in edges[layer] if edge in settled}
        quantized = quantize_weights(insert_activations(plain, alone, scheme), scheme, {layer})
        found.append(Sensitivity(layer, _error(exact, _answers(quantized, samples))))
    return tuple(sorted(found, key=lambda each: -each.error))


def mix(
    model: onnx.ModelProto,
    scheme: Scheme,
    batches: Iterable[dict[str, Array]],
    acceptable: Callable[[onnx.ModelProto], bool],
    keep_float: Iterable[str] = (),
) -> Mixed:
    """Keep the fewest of the most sensitive layers in float that make a calibrated model acceptable.

    `acceptable` is the budget, asked log2(layers) times: a metric on the validation split, say. Where not even all
    layers in float are enough, all are kept and `met` is False.
    """
    samples, always = list(batches), tuple(keep_float)
    order = [each.layer for each in sensitivities(model, scheme, samples, always)]

    def attempt(count: int) -> Mixed:
        quantized = calibrate(model, scheme, samples, (*always, *order[:count]))
        return Mixed(quantized, tuple(order[:count]), acceptable(quantized))

    least, best = 0, attempt(0)
    if best.met:
        return best
    most, best = len(order), attempt(len(order))
    while best.met and most - least > 1:
        middle = attempt((least + most) // 2)
        least, most, best = (least, len(middle.kept), middle) if middle.met else (len(middle.kept), most, best)
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
