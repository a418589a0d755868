"""Learned step sizes (Esser et al., ICLR 2020, arXiv:1902.08153), for activations.

Weights keep one step per channel, their largest magnitude / weight_max: it alone commutes with batch norm folding.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.quantization.qat.fake_quant import ObservingQuantizer, Quantizer
from edgekd.quantization.qat.simulated import Simulated
from edgekd.quantization.ranges import ROUND_DOWN
from edgekd.quantization.scheme import Scheme

SMALLEST = 1 / 8  # of the observed step: 8 bits gain nothing from clipping more


class _RoundLearned(torch.autograd.Function):
    """Equations 1 to 3 and 5, with Q_N and Q_P counted from the zero point, and the step's gradient times `gain`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, zero_point: Tensor, limits: tuple[int, int], gain: float) -> Tensor:
        ctx.save_for_backward(x, step, zero_point)
        ctx.limits, ctx.gain = limits, gain
        return (x / step).round_().add_(zero_point).clamp_(*limits).sub_(zero_point).mul_(step)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        x, step, zero_point = ctx.saved_tensors
        low, high = (limit - zero_point for limit in ctx.limits)
        steps = x / step
        inside = (steps > low) & (steps < high)
        slope = torch.where(inside, steps.round() - steps, steps.clamp(low, high))
        return gradient * inside, (gradient * slope).sum().reshape(step.shape) * ctx.gain, None, None, None


class LearnedQuantizer(Quantizer):
    """Starts from an observed range; its step is trained, its zero point stays.

    A large gradient cannot drive the step through zero, nor beyond `ceiling`, all that a ReLU6 has use for.
    """

    zero_point: Tensor

    def __init__(self, scheme: Scheme, observed: ObservingQuantizer, ceiling: float) -> None:
        super().__init__(scheme)
        step, zero_point = observed.affine()
        self.step = nn.Parameter(step.detach().clone())
        self.register_buffer("zero_point", zero_point.clone())
        self.limits = float(step) * SMALLEST, ceiling

    def affine(self) -> tuple[Tensor, Tensor]:
        """The step, brought back to where it makes sense, and the zero point."""
        self.step.data.clamp_(*self.limits)  # a clamped view would have no gradient, and stay there
        return self.step, self.zero_point

    def forward(self, x: Tensor, source: int | None = None) -> Tensor:
        """Quantise x, (N, …)."""
        if not self.simulating:
            return x
        (step, zero_point), limits = self.affine(), self.scheme.activation_range
        largest = max(abs(limit - int(zero_point)) for limit in limits)
        gain = 1 / math.sqrt(x[0].numel() * largest)  # section 2.2
        rounded: Tensor = _RoundLearned.apply(x, step, zero_point, limits, gain)  # type: ignore[no-untyped-call]
        return rounded


def learn_steps(prepared: Simulated) -> None:
    """Let a calibrated model train the steps of its activations, instead of following their ranges."""
    for name, observed in prepared.edgekd_quantizers.items():
        if isinstance(observed, ObservingQuantizer):
            smallest, largest = observed.scheme.activation_range
            steps = largest if observed.scheme.symmetric else largest - smallest
            ceiling = prepared.ceilings.get(name, math.inf) / steps * ROUND_DOWN
            prepared.edgekd_quantizers[name] = LearnedQuantizer(observed.scheme, observed, ceiling)
