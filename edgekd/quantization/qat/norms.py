"""Batch norms after training: statistics of the weights that are deployed, not of those on the way there."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekd.errors import BadInputError
from edgekd.networks import Inputs, call, device_of, evaluating, tensors_of, to_device
from edgekd.plugins import told


def recalibrate_batchnorm(model: nn.Module, batches: Iterable[Inputs]) -> None:
    """Set the running mean and variance of every batch norm that trains to their means over `batches`.

    All else stays, as do norms that the network's own `train` leaves in evaluation. A single sample behind larger
    batches, which may have no variance, is left out. Where a batch fails, all is as it was: BadInputError, in one line,
    where it has no variance.
    """
    with evaluating(model):
        norms = [module for module in model.train().modules() if isinstance(module, _BatchNorm) and module.training]
        norms = [norm for norm in norms if norm.track_running_stats]
        momenta = [norm.momentum for norm in norms]
        model.eval()
        before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True  # None: a plain mean
        try:
            with torch.no_grad():
                sizes = set[int]()
                for batch in batches:
                    sizes.add(size := len(tensors_of(batch)[0]))
                    if size > 1 or sizes == {1}:
                        call(model, to_device(batch, device_of(model)))
        except BaseException as error:
            for norm, values in zip(norms, before, strict=True):
                norm.load_state_dict(values, strict=False)
            if isinstance(error, ValueError):
                raise BadInputError(f"batch norms cannot be estimated anew: {told(error)}") from error
            raise
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
