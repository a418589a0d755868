import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekd.quantization.qat.fake_quant import (
    FixedQuantizer,
    ObservingQuantizer,
    enable_observers,
    fake_quantize_weight,
)
from edgekd.quantization.ranges import Affine, Observed, affine, quantize_weight, weight_scale
from edgekd.quantization.scheme import SCHEMES, Scheme
from tests.properties import few

ASYMMETRIC, SYMMETRIC = SCHEMES["int8-asymmetric"], SCHEMES["int8-symmetric"]
ranges = st.lists(st.tuples(st.floats(-100, 0, width=32), st.floats(0, 100, width=32)), min_size=1, max_size=4)


@given(ranges, st.sampled_from(list(SCHEMES.values())))
def test_observers_agree_with_calibration(seen: list[tuple[float, float]], scheme: Scheme) -> None:
    quantizer = ObservingQuantizer(scheme, 1).train()
    calibration = Observed("ema")
    for extremes in seen:
        quantizer(torch.tensor(extremes), 0)
        calibration.add(np.array([extremes], np.float32))
    scale, zero_point = quantizer.affine()
    expected = affine(*calibration.range(scheme), scheme)
    assert scale.item() == pytest.approx(expected.scale, rel=1e-5)  # float32 running means against float64
    assert abs(zero_point.item() - expected.zero_point) <= 1  # a tie may round to either side


def test_a_group_covers_all_its_edges() -> None:
    quantizer = ObservingQuantizer(ASYMMETRIC, 2).train()
    quantizer(torch.tensor([0.0, 1.0]), 0)
    quantizer(torch.tensor([-3.0, 0.5]), 1)
    quantizer(torch.tensor([-9.0, 9.0]))  # a copy: not observed
    assert quantizer.affine()[0].item() == pytest.approx(4 / 255, rel=1e-6)


def test_relu6_never_exceeds_six_in_float32_arithmetic() -> None:
    quantizer = ObservingQuantizer(ASYMMETRIC, 1).train()
    quantizer(torch.tensor([0.0, 6.0]), 0)
    assert quantizer.affine()[0].item() * 255 <= 6.0


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
def test_training_and_evaluation_round_as_torch_does(scheme: Scheme) -> None:
    quantizer = ObservingQuantizer(scheme, 1).train()
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    trained = quantizer(x, 0)
    scale, zero_point = quantizer.affine()
    expected = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, *scheme.activation_range)
    assert torch.equal(trained, quantizer.eval()(x, 0))
    assert (trained - expected).abs().max() <= 1.001 * scale.item()  # torch multiplies by 1 / scale: rare ties differ
    assert (trained - expected).abs().gt(scale / 2).float().mean() < 0.01


def test_the_gradient_passes_inside_the_range_only() -> None:
    quantizer = ObservingQuantizer(ASYMMETRIC, 1).train()
    quantizer(torch.tensor([0.0, 1.0]), 0)
    enable_observers(quantizer, False)
    x = torch.tensor([-1.0, 0.0, 0.4, 1.0, 2.0], requires_grad=True)
    quantizer(x, 0).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert quantizer.high.item() == 1.0


def test_evaluation_does_not_observe() -> None:
    quantizer = ObservingQuantizer(SYMMETRIC, 1).eval()
    quantizer(torch.ones(3), 0)
    assert quantizer.count.item() == 0


@pytest.mark.parametrize("shape", [(4, 3, 3, 3), (4, 1, 5), (4, 6)])
def test_weights_round_as_the_exported_ones(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    weight[0] = 0
    scale = weight_scale(weight.numpy(), 0, ASYMMETRIC)
    stored = quantize_weight(weight.numpy(), scale, 0, ASYMMETRIC)
    expected = stored * scale.reshape(-1, *[1] * (len(shape) - 1))
    np.testing.assert_allclose(fake_quantize_weight(weight, 127).numpy(), expected, rtol=1e-6, atol=1e-8)


@few(40)
@given(
    st.lists(st.sampled_from([0.0, 1e-8, -1e-8, 1e-3, -1e-3, 1.0, -1.0]), min_size=4, max_size=4),
    st.integers(0, 1000),
)
def test_per_channel_rounding_commutes_with_batch_norm(gamma: list[float], seed: int) -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(seed)).numpy()
    gain = np.array(gamma, np.float64)[:, None, None, None] / np.sqrt(0.7 + 1e-5)
    folded = (weight * gain).astype(np.float32)
    scale = weight_scale(folded, 0, ASYMMETRIC)
    after = quantize_weight(folded, scale, 0, ASYMMETRIC) * scale[:, None, None, None].astype(np.float64)
    before = fake_quantize_weight(torch.from_numpy(weight), 127).numpy() * gain
    # Equal but for float32 rounding, unless a channel is dead: then both lie below the smallest scale, 1e-9.
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1.1e-9)


@pytest.mark.parametrize("point", [0, 100])
def test_the_gradient_passes_to_half_a_step_beyond_the_range(point: int) -> None:
    quantizer = FixedQuantizer(ASYMMETRIC, Affine(0.5, point))
    low, high = (0 - point) * 0.5, (255 - point) * 0.5
    x = torch.tensor([low - 0.3, low - 0.2, low, 0.0, high, high + 0.2, high + 0.3], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def test_a_mean_turns_into_a_moving_average_after_a_hundred_batches() -> None:
    quantizer = ObservingQuantizer(ASYMMETRIC, 1).train()
    for seen, share in ((0, 1.0), (3, 0.25), (98, 1 / 99), (500, 0.01)):
        quantizer.high.fill_(1.0)
        quantizer.low.fill_(-1.0)
        quantizer.count.fill_(seen)
        quantizer(torch.tensor([-3.0, 2.0]), 0)
        assert quantizer.high.item() == pytest.approx(1 + share)
        assert quantizer.low.item() == pytest.approx(-1 - 2 * share)
        assert quantizer.count.item() == seen + 1


def test_what_does_not_simulate_or_copies_an_edge_is_not_observed() -> None:
    quantizer = ObservingQuantizer(ASYMMETRIC, 1).train()
    quantizer(torch.ones(2), None)
    assert quantizer.count.item() == 0
    quantizer.simulating = False
    x = torch.tensor([0.1, 0.2])
    assert quantizer(x, 0) is x
    assert quantizer.count.item() == 1
    enable_observers(quantizer, False)
    quantizer(x, 0)
    assert quantizer.count.item() == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_a_weight_is_rounded_along_its_axis_by_plain_division(axis: int) -> None:
    weight = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rounded = fake_quantize_weight(weight, 7, axis)
    for channel, found in zip(weight.detach().unbind(axis), rounded.detach().unbind(axis), strict=True):
        step = channel.abs().max() / 7
        torch.testing.assert_close(found, (channel / step).round() * step, rtol=1e-6, atol=1e-7)
    rounded.sum().backward()
    assert weight.grad is not None
    assert weight.grad.eq(1).all()
    assert fake_quantize_weight(torch.zeros(2, 2), 7).tolist() == [[0.0, 0.0]] * 2
