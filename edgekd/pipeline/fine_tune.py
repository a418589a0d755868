"""What recipes and scripts share of training in a scheme's arithmetic: how it begins, goes on and ends."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgekd.data.dataset import Dataset
from edgekd.networks import Inputs, each, named
from edgekd.pipeline.calibrated import BATCH
from edgekd.quantization import qat
from edgekd.quantization.scheme import Scheme
from edgekd.recipe import Quantization
from edgekd.training import evaluate
from edgekd.training.batches import tensors


def simulated(
    student: nn.Module, scheme: Scheme, samples: Sequence[Inputs], settings: Quantization, kept: Iterable[str] = ()
) -> qat.Simulated:
    """A trainable copy of `student` in the scheme's arithmetic, its ranges as `samples` show; `kept` stay in float."""
    prepared = qat.prepare(student, scheme, two(samples), (*settings.keep_float, *kept))
    qat.calibrate(prepared, samples)
    if settings.ranges == "lsq":
        qat.learn_steps(prepared)
    return prepared


def freeze_halfway(model: nn.Module, fraction: float) -> None:
    """In the second half ranges stand still, so that weights adapt to what will be deployed."""
    qat.enable_observers(model, fraction < 0.5)


def recalibrate_if_better(prepared: nn.Module, data: Dataset, samples: Sequence[Inputs]) -> bool:
    """Estimate batch norms anew for the trained weights; whether that was kept, as validation was no worse for it.

    Their running statistics lag behind the weights, and saw augmented samples.
    """
    before = {name: value.clone() for name, value in prepared.state_dict().items()}
    if not any(name.endswith("running_mean") for name in before):
        return False
    metric = evaluate(prepared, data, data.val)
    qat.recalibrate_batchnorm(prepared, samples)
    better = evaluate(prepared, data, data.val) >= metric
    if not better:
        prepared.load_state_dict(before)
    return better


def calibration(data: Dataset, seed: int, count: int = 512, batch: int = BATCH) -> list[Inputs]:
    """Batches of `count` training samples, drawn by `seed`, as the model takes them."""
    chosen = np.random.default_rng(seed).permutation(len(data.train))[:count]
    raw = data.train.inputs[chosen]
    return [tensors(raw[start : start + batch], data.preprocessing) for start in range(0, len(raw), batch)]


def two(samples: Sequence[Inputs]) -> Inputs:
    """The first two of some samples, to look at a network with."""
    return each(samples[0], lambda value: value[:2])


def arrays_of(batch: Inputs) -> dict[str, NDArray[Any]]:
    """A batch by the names of a graph's inputs."""
    return {name: value.numpy() for name, value in named(batch).items()}
