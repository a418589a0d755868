"""What a network answers, and how good that is."""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekd.data.dataset import Dataset, Split
from edgekd.errors import BadInputError
from edgekd.networks import device_of, evaluating, to_device
from edgekd.outputs import chosen, each, joined
from edgekd.training.batches import by_length, cut, tensors
from edgekd.training.precision import Precision, place_model, runner
from edgekd.training.read_ahead import read_ahead


def evaluate(
    model: nn.Module, data: Dataset, split: Split, *, batch: int = 256, precision: Precision = "float32"
) -> float:
    """The data set's metric on one of its splits."""
    return data.metric(predict(model, data, split, batch=batch, precision=precision), split.labels)


def predict(
    model: nn.Module, data: Dataset, split: Split, *, batch: int = 256, precision: Precision = "float32"
) -> Any:
    """Outputs (N, …) that the task reads, one or several by name; every module is left in the mode it was in.

    Raises BadInputError for outputs without a row for each sample.
    """
    device = device_of(model)
    run = runner(model, precision, device)
    place_model(model, device, split.inputs.ndim)
    order = by_length(split.inputs)
    batches, answers = [order[start : start + batch] for start in range(0, len(split), batch)], []
    with evaluating(model), torch.inference_mode():
        for raw in read_ahead(split.inputs, batches):
            inputs = tensors(cut(raw), data.preprocessing)
            outputs = chosen(run(to_device(inputs, device)), data.task.reads, type(data.task).__name__)
            answers.append(each(outputs, partial(_rows, count=len(raw))))
    places = np.argsort(order)
    return each(joined(answers), lambda rows: rows[places])


def _rows(output: Tensor, count: int) -> NDArray[Any]:
    if output.shape[:1] != (count,):
        shape = tuple(output.shape)
        raise BadInputError(f"the network puts out {shape} for {count} samples: outputs have a row for each, (N, …)")
    return output.cpu().numpy()
