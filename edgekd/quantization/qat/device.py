"""Where a network is: what it is shown goes there."""

from itertools import chain

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """Of its first parameter or buffer; the CPU where it has none."""
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device
