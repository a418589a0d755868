"""Batch norms after training: statistics of the weights that are deployed, not of those on the way there."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekd.quantization.qat.device import device_of


def reestimate_norms(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running mean and variance of every batch norm to their means over `batches`; all else stays."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    momenta, modes = [norm.momentum for norm in norms], {module: module.training for module in model.modules()}
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True  # None: a plain mean
    try:
        with torch.no_grad():
            for batch in batches:
                model(batch.to(device_of(model)))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training
