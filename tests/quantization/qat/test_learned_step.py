"""LSQ against the formulas of arXiv:1902.08153, and what a learned step does in a network."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edgekd.quantization.qat import calibrate, enable_observers, export_qdq, learn_steps
from edgekd.quantization.qat.fake_quant import ObservingQuantizer
from edgekd.quantization.qat.learned_step import LearnedQuantizer
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.scheme import SCHEMES, Scheme
from tests.properties import few
from tests.quantization.nets import MobileNet, ResNet, images
from tests.quantization.qat.prepare_once import prepare_once

ASYMMETRIC, SYMMETRIC = SCHEMES["int8-asymmetric"], SCHEMES["int8-symmetric"]
schemes = st.sampled_from([ASYMMETRIC, SYMMETRIC])


def learned(scheme: Scheme, low: float, high: float) -> LearnedQuantizer:
    observer = ObservingQuantizer(scheme, 1).train()
    observer(torch.tensor([low, high]), 0)
    return LearnedQuantizer(scheme, observer, math.inf)


def papers(x: Tensor, step: Tensor, below: int, above: int) -> Tensor:
    """Appendix B: clip, round with a straight-through gradient, multiply; autograd does the rest."""
    clipped = (x / step).clamp(-below, above)
    return (clipped + (clipped.round() - clipped).detach()) * step


@few(40)
@given(schemes, st.floats(-5, -0.01), st.floats(0.01, 5), st.integers(0, 1000))
def test_value_and_gradients_are_the_papers(scheme: Scheme, low: float, high: float, seed: int) -> None:
    quantizer, generator = learned(scheme, low, high), torch.Generator().manual_seed(seed)
    x = (4 * torch.randn(3, 5, 7, generator=generator)).requires_grad_()
    upstream = torch.randn(3, 5, 7, generator=generator)
    (ours := quantizer(x)).backward(upstream)
    smallest, largest = scheme.activation_range
    below, above = int(quantizer.zero_point) - smallest, largest - int(quantizer.zero_point)
    twin, step = x.detach().clone().requires_grad_(), quantizer.step.detach().clone().requires_grad_()
    (theirs := papers(twin, step, below, above)).backward(upstream)
    gain = 1 / math.sqrt(5 * 7 * max(below, above))  # N_F features of one sample, section 2.2
    assert x.grad is not None
    assert twin.grad is not None
    assert step.grad is not None
    assert quantizer.step.grad is not None
    # float32: the same sum of 105 terms in another order.
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(quantizer.step.grad, step.grad * gain, rtol=1e-4, atol=1e-5)


def test_a_step_that_is_far_too_large_learns_to_fit() -> None:
    x = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    quantizer = learned(SYMMETRIC, -100.0, 100.0)
    optimizer = torch.optim.Adam(quantizer.parameters(), 0.02)

    def error() -> Tensor:
        return (quantizer(x) - x).pow(2).mean()

    before = error().item()
    for _ in range(60):
        optimizer.zero_grad()
        error().backward()
        optimizer.step()
    assert error().item() < before / 50  # from steps of 0.8 towards the 0.03 that cover a normal distribution


def test_a_step_that_was_driven_below_zero_comes_back() -> None:
    quantizer = learned(ASYMMETRIC, -1.0, 3.0)
    observed = quantizer.step.item()
    with torch.no_grad():
        quantizer.step.fill_(-1.0)
    quantizer(torch.randn(8, 8)).sum().backward()
    assert quantizer.step.item() == pytest.approx(observed / 8)
    assert quantizer.step.grad is not None
    assert quantizer.step.grad.item() != 0


def trained(kind: type[nn.Module], scheme: Scheme) -> nn.Module:
    net = prepare_once(kind, scheme)
    calibrate(net, [images(32)])
    learn_steps(net)
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for seed in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images(16, seed)), torch.arange(16) % 10).backward()
        optimizer.step()
        enable_observers(net, seed < 1)
    return net


@pytest.mark.parametrize("scheme", [ASYMMETRIC, SYMMETRIC])
def test_learned_steps_are_what_is_exported(scheme: Scheme) -> None:
    net = trained(ResNet, scheme)
    quantizers = [module for module in net.modules() if isinstance(module, LearnedQuantizer)]
    exported = strip_activations(export_qdq(net, images(2), scheme))[1]
    steps = {quantizer.affine()[0].item() for quantizer in quantizers}
    assert steps == {parameters.scale for parameters in exported.values()}
    observed = prepare_once(ResNet, scheme)
    calibrate(observed, [images(32)])
    before = [module for module in observed.modules() if isinstance(module, ObservingQuantizer)]
    assert len(before) == len(quantizers)
    assert steps.isdisjoint({quantizer.affine()[0].item() for quantizer in before})  # all were trained


def test_a_learned_step_never_reaches_beyond_six_behind_a_relu6() -> None:
    net = trained(MobileNet, ASYMMETRIC)
    bounded = [m for m in net.modules() if isinstance(m, LearnedQuantizer) and m.limits[1] < math.inf]
    assert len(bounded) == 7  # as many as there are ReLU6
    for quantizer in bounded:
        with torch.no_grad():
            quantizer.step.fill_(1.0)
        assert quantizer.affine()[0].item() * 255 <= 6.0


@pytest.mark.parametrize("scheme", [ASYMMETRIC, SYMMETRIC])
def test_at_either_limit_the_gradient_is_the_clipped_one(scheme: Scheme) -> None:
    """Powers of two: what lies on a limit is clipped (eq. 3), half a step inside it is not."""
    quantizer = learned(scheme, -8.0, 8.0)
    with torch.no_grad():
        quantizer.step.fill_(0.125)
    point = int(quantizer.zero_point)
    low, high = ((limit - point) * 0.125 for limit in scheme.activation_range)
    x = torch.tensor([[low - 1, low, low + 0.0625, 0.0, high - 0.0625, high, high + 1]], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]]
