"""A float graph quantised without training, what int8 costs its metric, and which of its layers pay for it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from pydantic import JsonValue

from edgekd.backends.losses import layer_losses
from edgekd.backends.reference import Reference
from edgekd.data.dataset import Dataset, Split, model_inputs
from edgekd.outputs import chosen, joined
from edgekd.quantization.calibrate import Calibration, calibrate, plain
from edgekd.quantization.mixed_precision import Mixed, mix
from edgekd.quantization.scheme import Scheme
from edgekd.recipe import Quantization

Arrays = dict[str, NDArray[Any]]
BATCH, METRIC_BATCH = 64, 256


def calibrated(
    graph: onnx.ModelProto, scheme: Scheme, samples: Sequence[Arrays], data: Dataset, settings: Quantization
) -> Mixed:
    """A float graph, quantised as `settings` ask; with `mixed`, layers stay in float until `max_drop` is kept.

    The budget is on the validation split's metric, by the reference.
    """
    how, keep_float = calibration_of(settings), settings.keep_float
    if not settings.mixed:
        return Mixed(calibrate(graph, scheme, samples, keep_float, how), (), met=True)
    plain_metric = metric(graph, data, data.val)
    allowed = data.metric.allowance(settings.max_drop, plain_metric)

    def keeps(model: onnx.ModelProto) -> bool:
        return data.metric.gain(metric(model, data, data.val), plain_metric) >= -allowed

    return mix(graph, scheme, samples, keeps, keep_float, how)


def calibration_of(settings: Quantization) -> Calibration:
    """What the settings say of calibration, if they do nothing else; the rest as it is by default."""
    if settings.epochs:
        return Calibration()
    asked = settings.model_dump(include={"ranges", "equalize", "correct_bias"}, exclude_none=True)
    return Calibration(**asked)


def metric(graph: onnx.ModelProto, data: Dataset, split: Split) -> float:
    """The data set's metric on a split, by the reference."""
    return data.metric(answers_of(graph, data, split), split.labels)


def answers_of(graph: onnx.ModelProto, data: Dataset, split: Split) -> Any:
    """What the task reads of the reference's outputs (N, …) for a split."""
    reference, answers = Reference(graph), []
    for start in range(0, len(split), METRIC_BATCH):
        raw = split.inputs[start : start + METRIC_BATCH]
        inputs = model_inputs(raw, data.preprocessing, graph.graph.input[0].name)
        outputs = reference.run(inputs, batch=METRIC_BATCH)
        answers.append(chosen(outputs, data.task.reads, type(data.task).__name__))
    return joined(answers)


def batches_of(inputs: Mapping[str, NDArray[Any]]) -> Iterator[Arrays]:
    """Samples in batches."""
    for start in range(0, len(next(iter(inputs.values()))), BATCH):
        yield {name: array[start : start + BATCH] for name, array in inputs.items()}


def lost_by_layer(
    quantized: onnx.ModelProto, batch: Arrays, original: onnx.ModelProto | None, how: Calibration | None = None
) -> list[dict[str, JsonValue]]:
    """A row per layer, as `LayerLoss`, the culprits first; an original is prepared as calibration did."""
    beside = None if original is None else plain(original, how or Calibration())
    return [loss.model_dump() for loss in layer_losses(quantized, batch, beside, BATCH)]
