"""What the calls of a network return for one batch of examples, before it is given quantisers."""

import copy

import torch
from torch import Tensor, nn

from edgekd.networks import Inputs, call, each
from edgekd.quantization.placement import Range
from edgekd.quantization.qat.watch import Watched


def example_ranges(network: nn.Module, example: Inputs) -> dict[str, Range]:
    """Return the range of every floating-point result, by the key of its call, that a copy shows as it evaluates."""
    recorder = _Recorder(copy.deepcopy(network).cpu()).eval()
    with torch.no_grad():
        call(recorder, each(example, Tensor.cpu))
    return recorder.ranges


class _Recorder(Watched):
    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.ranges: dict[str, Range] = {}

    def value(self, key: str, x: Tensor) -> Tensor:
        """A value, its extremes noted."""
        if x.is_floating_point():
            self.ranges[key] = (float(x.min()), float(x.max())) if x.numel() else (0.0, 0.0)
        return x

    def weight(self, name: str | None, weight: Tensor, axis: int) -> Tensor:
        """The weight itself."""
        return weight
