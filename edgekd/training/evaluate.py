"""What a network answers, and how good that is."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.bundle import Preprocessing
from edgekd.data.dataset import Dataset, Split, prepare
from edgekd.networks import device_of, evaluating
from edgekd.training.batches import by_length, cut
from edgekd.training.precision import Precision, place, place_model, runner
from edgekd.training.read_ahead import read_ahead


def evaluate(
    model: nn.Module, data: Dataset, split: Split, *, batch: int = 256, precision: Precision = "float32"
) -> float:
    """The data set's metric on one of its splits."""
    return data.metric(predict(model, split, data.preprocessing, batch=batch, precision=precision), split.labels)


def predict(
    model: nn.Module, split: Split, preprocessing: Preprocessing, *, batch: int = 256, precision: Precision = "float32"
) -> NDArray[np.float32]:
    """Outputs (N, …) in evaluation mode; every module is left in the mode it was in."""
    device = device_of(model)
    run = runner(model, precision, device)
    place_model(model, device, split.inputs.ndim)
    order = by_length(split.inputs)
    batches, logits = [order[start : start + batch] for start in range(0, len(split), batch)], []
    with evaluating(model), torch.inference_mode():
        for raw in read_ahead(split.inputs, batches):
            inputs = torch.from_numpy(prepare(cut(raw), preprocessing))
            logits.append(run(place(inputs, device)).cpu().numpy())
    return np.concatenate(logits)[np.argsort(order)]
