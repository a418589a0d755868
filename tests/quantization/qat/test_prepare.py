import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.quantization.calibrate import Calibration
from edgekd.quantization.calibrate import calibrate as calibrate_onnx
from edgekd.quantization.qat import calibrate, enable_observers, export_float, export_qdq, prepare
from edgekd.quantization.qat.simulated import QUANTIZERS
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.scheme import SCHEMES
from tests.quantization.nets import MobileNet, ResNet, images, lively
from tests.quantization.qat.prepare_once import prepare_once

ASYMMETRIC = SCHEMES["int8-asymmetric"]


def train(model: nn.Module, steps: range, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    for step in steps:
        loss = nn.functional.cross_entropy(model(images(16, seed=step)), torch.arange(16) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.01)


def test_the_users_model_is_not_edited() -> None:
    net = lively(ResNet)
    before = copy.deepcopy(net.state_dict())
    prepared = prepare(net, ASYMMETRIC, images(2))
    train(prepared, range(2), sgd(prepared))
    assert not net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert type(net.stem[0]) is nn.Conv2d
    assert net.stages[0].relu.inplace


def test_parameters_and_submodules_keep_their_names() -> None:
    net = lively(ResNet)
    prepared = prepare_once(ResNet, ASYMMETRIC)
    state = prepared.state_dict()
    assert set(net.state_dict()) <= set(state)
    assert all(isinstance(value, Tensor) for value in state.values())
    assert {name for name, _ in net.named_modules()} <= {name for name, _ in prepared.named_modules()}


@pytest.mark.parametrize("tap", ["stem", "stages", "stages.0", "stages.1.shortcut", "stages.1.conv1", "pool", "fc"])
def test_hooks_see_what_they_saw_in_the_users_model(tap: str) -> None:
    net = lively(ResNet)
    prepared = prepare_once(ResNet, ASYMMETRIC)
    calibrate(prepared, [images(32)])
    seen: list[Tensor] = []
    for model in (net, prepared.eval()):
        model.get_submodule(tap).register_forward_hook(
            lambda module, inputs, output: seen.append(output.detach().clone())
        )
        model(images(4))
    assert len(seen) == 2
    # 8 bits over a handful of layers: an error well under a tenth of the signal.
    assert (seen[0] - seen[1]).norm() < 0.1 * seen[0].norm()


def test_a_resumed_run_is_bit_equal() -> None:
    unbroken, resumed = (prepare_once(MobileNet, ASYMMETRIC) for _ in range(2))
    unbroken.dropout.p = 0.0
    train(unbroken, range(2), sgd(unbroken))
    enable_observers(unbroken, False)
    state = load(save(unbroken.state_dict()))  # nothing but tensors
    train(unbroken, range(2, 4), sgd(unbroken))
    resumed.dropout.p = 0.0
    for value in resumed.state_dict().values():
        value.zero_()  # whatever is not in the state is lost
    resumed.load_state_dict(state)
    train(resumed, range(2, 4), sgd(resumed))
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in unbroken.state_dict().items())


def test_training_moves_weights_and_ranges_until_observers_rest() -> None:
    prepared = prepare_once(ResNet, ASYMMETRIC)
    weight = prepared.stem.get_submodule("0").weight.detach().clone()
    optimizer = sgd(prepared)
    train(prepared, range(1), optimizer)
    assert not torch.equal(prepared.stem.get_submodule("0").weight, weight)
    ranges = {name: value.clone() for name, value in prepared.state_dict().items() if name.endswith(".high")}
    assert all(value.gt(0).any() for value in ranges.values())
    enable_observers(prepared, False)
    train(prepared, range(1, 2), optimizer)
    assert all(torch.equal(prepared.state_dict()[name], value) for name, value in ranges.items())


def test_calibration_leaves_weights_norms_and_modes_alone() -> None:
    prepared = prepare_once(ResNet, ASYMMETRIC).eval()
    prepared.fc.train()
    before = {name: value.clone() for name, value in prepared.state_dict().items() if "edgekd" not in name}
    calibrate(prepared, [images(8)])
    assert all(torch.equal(prepared.state_dict()[name], value) for name, value in before.items())
    assert prepared.fc.training
    assert not prepared.training


def test_calibrated_in_torch_or_in_onnx_the_ranges_are_the_same() -> None:
    net, batches = lively(ResNet), [images(1, seed=seed) for seed in range(8)]  # ONNX counts samples, torch batches
    prepared = prepare_once(ResNet, ASYMMETRIC)
    calibrate(prepared, batches)
    from_torch = strip_activations(export_qdq(prepared, images(2), ASYMMETRIC))[1]
    exported = export_float(net, images(2))
    feeds = [{"input": batch.numpy()} for batch in batches]
    from_onnx = strip_activations(
        calibrate_onnx(exported, ASYMMETRIC, feeds, how=Calibration("ema", correct_bias=False))
    )[1]
    assert len(from_torch) == len(from_onnx)
    for ours, theirs in zip(from_torch.values(), from_onnx.values(), strict=True):
        assert ours.scale == pytest.approx(theirs.scale, rel=1e-4)  # float sums in another order
        assert abs(ours.zero_point - theirs.zero_point) <= 1


def test_kept_layers_are_left_alone() -> None:
    prepared = prepare(lively(ResNet), ASYMMETRIC, images(2), keep_float=["stages.1.*", "logits"])
    whole = prepare_once(ResNet, ASYMMETRIC)
    assert whole.weights - prepared.weights == {f"stages.1.{name}.weight" for name in ("conv1", "conv2", "shortcut.0")}
    exported = export_qdq(calibrated(prepared), images(2), ASYMMETRIC)
    types = {tensor.name: tensor.data_type for tensor in exported.graph.initializer}
    assert "stages.1.conv1.weight" in types
    assert "stages.0.conv1.weight_quantized" in types
    assert exported.graph.node[-1].op_type == "Gemm"


def calibrated(prepared: nn.Module) -> nn.Module:
    calibrate(prepared, [images(16)])
    return prepared


def test_a_keep_float_that_matches_nothing_is_told() -> None:
    with pytest.raises(BadInputError, match="keep_float: 'fcc' matches no layer; did you mean 'fc'"):
        prepare(lively(ResNet), ASYMMETRIC, images(2), keep_float=["fcc"])


class Unlike(nn.Module):
    """Two branches, one `wide` times as wide as the other, joined before a layer."""

    def __init__(self, wide: float) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.left.weight.mul_(wide)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.left(x), self.right(x)], 1))


@pytest.mark.parametrize(("wide", "scales"), [(1, 3), (100, 5)])
def test_branches_of_unlike_ranges_share_no_scale(wide: float, scales: int) -> None:
    """The input's, the output's, and one for all of the Concat or one for each of its edges."""
    torch.manual_seed(0)
    prepared = prepare(Unlike(wide), SCHEMES["int8-asymmetric"], torch.randn(4, 3, 6, 6))
    assert len([name for name, _ in prepared.named_modules() if name.startswith(f"{QUANTIZERS}.")]) == scales


def test_scores_behind_the_last_layer_are_not_quantised() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 4, 1), nn.Sigmoid())
    prepared = prepare(net, SCHEMES["int8-asymmetric"], torch.randn(4, 3, 6, 6))
    assert len([name for name, _ in prepared.named_modules() if name.startswith(f"{QUANTIZERS}.")]) == 4
