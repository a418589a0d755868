"""What a network answers, and how often it is right."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.bundle import Preprocessing
from edgekd.data.dataset import Split, prepare
from edgekd.training.precision import Precision, place, place_model, runner


def evaluate(
    model: nn.Module, split: Split, preprocessing: Preprocessing, *, batch: int = 256, precision: Precision = "float32"
) -> float:
    """Accuracy, a fraction."""
    answers = predict(model, split, preprocessing, batch=batch, precision=precision).argmax(1)
    return float(np.mean(answers == split.labels))


def predict(
    model: nn.Module, split: Split, preprocessing: Preprocessing, *, batch: int = 256, precision: Precision = "float32"
) -> NDArray[np.float32]:
    """Logits (N, classes) in evaluation mode; the model is left in the mode it was in."""
    device = next(model.parameters()).device
    run, training = runner(model, precision, device), model.training
    model.eval()
    place_model(model, device, split.inputs.ndim)
    logits = []
    with torch.inference_mode():
        for start in range(0, len(split), batch):
            inputs = torch.from_numpy(prepare(split.inputs[start : start + batch], preprocessing))
            logits.append(run(place(inputs, device)).cpu().numpy())
    model.train(training)
    return np.concatenate(logits)
