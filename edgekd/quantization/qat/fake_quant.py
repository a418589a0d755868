"""Quantisation simulated in training: fake-quantised weights, and activations with moving-average observers.

Everything that a resumed run needs is a buffer.
"""

from typing import Any

import torch
from torch import Tensor, nn

from edgekd.quantization.ranges import EMA_FLOOR, MIN_ACTIVATION_SCALE, MIN_WEIGHT_SCALE, ROUND_DOWN, Affine
from edgekd.quantization.scheme import Scheme


# Plain arithmetic rather than torch.fake_quantize_*: 15 times faster on a CPU, and it rounds ties as ONNX does.
class _RoundActivation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, limits: tuple[int, int]) -> Tensor:
        zero = float(zero_point)
        smallest, largest = (limit - zero for limit in limits)  # adding it and taking it off again cost two passes
        ctx.save_for_backward(x)
        ctx.bounds = float((smallest - 0.5) * scale), float((largest + 0.5) * scale)
        return (x / scale).round_().clamp_(smallest, largest).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, x, *ctx.bounds), None, None, None


class _RoundWeight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor) -> Tensor:
        return (weight / scale).round_().mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class Quantizer(nn.Module):
    """Rounds a tensor to what 8 bits can hold; the gradient passes straight through inside the range."""

    simulating = True

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.scheme = scheme

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale (float32) and zero point (int32), both scalars."""
        raise NotImplementedError

    def forward(self, x: Tensor, source: int | None = None) -> Tensor:
        """Quantise x; `source` says which of the observed edges this is (None: it copies one)."""
        if not self.simulating:
            return x
        scale, zero_point = self.affine()
        limits = self.scheme.activation_range
        rounded: Tensor = _RoundActivation.apply(x, scale, zero_point, limits)  # type: ignore[no-untyped-call]
        return rounded


class ObservingQuantizer(Quantizer):
    """Follows the range of its edges: a mean over the first batches that turns into a moving average."""

    low: Tensor
    high: Tensor
    count: Tensor
    observing: Tensor

    def __init__(self, scheme: Scheme, sources: int) -> None:
        super().__init__(scheme)
        self.register_buffer("low", torch.zeros(sources))
        self.register_buffer("high", torch.zeros(sources))
        self.register_buffer("count", torch.zeros(sources))
        self.register_buffer("observing", torch.tensor(True))

    def affine(self) -> tuple[Tensor, Tensor]:
        """As `ranges.affine`, for the range that covers all edges."""
        low, high = self.low.min().clamp(max=0), self.high.max().clamp(min=0)
        smallest, largest = self.scheme.activation_range
        if self.scheme.symmetric:
            scale = (torch.maximum(-low, high) / largest * ROUND_DOWN).clamp(min=MIN_ACTIVATION_SCALE)
            return scale, torch.zeros_like(scale, dtype=torch.int32)
        scale = ((high - low) / (largest - smallest) * ROUND_DOWN).clamp(min=MIN_ACTIVATION_SCALE)
        return scale, (smallest - low / scale).round().clamp(smallest, largest).to(torch.int32)

    def forward(self, x: Tensor, source: int | None = None) -> Tensor:
        """Observe (in training, while observing), then quantise."""
        if source is not None and self.training and self.observing:
            self._observe(x.detach(), source)
        return super().forward(x, source)

    def _observe(self, x: Tensor, source: int) -> None:
        low, high = torch.aminmax(_as_in_memory(x))
        count = self.count[source]
        weight = (1 / (count + 1)).clamp(min=EMA_FLOOR)
        self.low[source].lerp_(low.float(), weight)
        self.high[source].lerp_(high.float(), weight)
        count += 1


class FixedQuantizer(Quantizer):
    """Scale and zero point are known beforehand."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scheme: Scheme, affine: Affine) -> None:
        super().__init__(scheme)
        self.register_buffer("scale", torch.tensor(affine.scale))
        self.register_buffer("zero_point", torch.tensor(affine.zero_point, dtype=torch.int32))

    def affine(self) -> tuple[Tensor, Tensor]:
        """The given pair."""
        return self.scale, self.zero_point


def _as_in_memory(x: Tensor) -> Tensor:
    """Its axes in the order of memory: torch would copy a channels-last image before it looks for extremes."""
    return x.permute(sorted(range(x.ndim), key=x.stride, reverse=True))


def fake_quantize_weight(weight: Tensor, weight_max: int, axis: int = 0) -> Tensor:
    """Weights rounded per channel of `axis` so that the largest magnitude becomes ±weight_max."""
    others = [other for other in range(weight.ndim) if other != axis]
    largest = weight.detach().abs().amax(dim=others, keepdim=True)
    scale = largest.div_(weight_max).clamp_(min=MIN_WEIGHT_SCALE)
    rounded: Tensor = _RoundWeight.apply(weight, scale)  # type: ignore[no-untyped-call]
    return rounded


def enable_observers(model: nn.Module, on: bool) -> None:
    """Let activation ranges follow the data, or hold them still."""
    for module in model.modules():
        if isinstance(module, ObservingQuantizer):
            module.observing.fill_(on)
