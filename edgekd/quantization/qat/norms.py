"""Batch norms after training: statistics of the weights that are deployed, not of those on the way there."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekd.networks import Inputs, call, device_of, evaluating, to_device


def recalibrate_batchnorm(model: nn.Module, batches: Iterable[Inputs]) -> None:
    """Set the running mean and variance of every batch norm that trains to their means over `batches`.

    All else stays, as do norms that the network's own `train` leaves in evaluation.
    """
    with evaluating(model):
        norms = [module for module in model.train().modules() if isinstance(module, _BatchNorm) and module.training]
        norms = [norm for norm in norms if norm.track_running_stats]
        momenta = [norm.momentum for norm in norms]
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True  # None: a plain mean
        try:
            with torch.no_grad():
                for batch in batches:
                    call(model, to_device(batch, device_of(model)))
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
