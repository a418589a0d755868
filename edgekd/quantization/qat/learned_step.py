"""Learned step sizes (Esser et al., ICLR 2020, arXiv:1902.08153), for activations.

Weights keep one step per channel, their largest magnitude / weight_max: it alone commutes with batch norm folding.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgekd.quantization.qat.fake_quant import ObservingQuantizer, Quantizer
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


def learn_steps(prepared: fx.GraphModule) -> None:
    """Let a calibrated model train the steps of its activations, instead of following their ranges."""
    ceilings: dict[str, float] = {}
    for node in prepared.graph.nodes:
        if node.op == "call_module" and isinstance(prepared.get_submodule(node.target), ObservingQuantizer):
            bound = _bound(prepared, node.args[0])
            ceilings[node.target] = min(bound, ceilings.get(node.target, math.inf))
    for name, bound in ceilings.items():
        observed = prepared.get_submodule(name)
        assert isinstance(observed, ObservingQuantizer)
        smallest, largest = observed.scheme.activation_range
        steps = largest if observed.scheme.symmetric else largest - smallest
        prepared.set_submodule(name, LearnedQuantizer(observed.scheme, observed, bound / steps * ROUND_DOWN))


def _bound(prepared: fx.GraphModule, node: fx.Node) -> float:
    """The largest value that an activation lets through: runtimes drop a ReLU6 only while its range stays within it."""
    if node.op == "call_module":
        return float(getattr(prepared.get_submodule(str(node.target)), "max_val", math.inf))
    if node.target is F.relu6:
        return 6.0
    given = [*node.args[2:3], *(node.kwargs[key] for key in ("max_val", "max") if key in node.kwargs)]
    clamps = node.target in (F.hardtanh, torch.clamp, "clamp")
    return float(given[0]) if clamps and given and isinstance(given[0], int | float) else math.inf
