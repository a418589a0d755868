"""Networks as users write them are trained as they are: their own code runs, and what it rounds is what is exported."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.backends.reference import Reference
from edgekd.errors import BadInputError
from edgekd.quantization.qat import calibrate, export_float, export_qdq, prepare, recalibrate_batchnorm
from edgekd.quantization.qdq import strip_activations
from edgekd.quantization.scheme import SCHEMES

SCHEME = SCHEMES["int8-asymmetric"]


def signals(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 10, generator=torch.Generator().manual_seed(seed))


class Tuples(nn.Module):
    """Calls and modules that give several values, or one of several."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gru, self.lstm = nn.Conv1d(3, 8, 3), nn.GRU(8, 8, batch_first=True), nn.LSTM(8, 8)
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        steps = x.transpose(1, 2)
        _, (hidden, _) = self.lstm(steps.transpose(0, 1))
        parts = [x.max(2)[0], torch.max(x, 2).values, x.topk(1, 2)[0].squeeze(2), x.sort(2)[0][:, :, -1]]
        parts += [torch.std_mean(x, 2)[1], x.median(2)[0], self.gru(steps)[0][:, -1], hidden[-1]]
        return self.head(torch.cat(parts, 1))


class OwnNorm(nn.BatchNorm1d):
    """Other defaults than torch's."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-2, momentum=0.03)


class NormAndActivation(OwnNorm):
    """A forward of its own around torch's."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class Subclasses(nn.Module):
    """Layers derived from torch's, tied weights, a layer that runs twice, a dropout that is a function."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.act = nn.Conv1d(3, 8, 3), OwnNorm(8), type("Act", (nn.ReLU,), {})()
        self.block, self.second = nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), NormAndActivation(8)), nn.Linear(8, 8)
        self.first, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        x = F.dropout(self.block(self.block(x)).mean(2), 0.5, self.training)
        return self.head(self.act(self.second(self.act(self.first(x)))))


def decibels(signal: Tensor, other: np.ndarray) -> float:
    found = signal.detach().numpy().astype(np.float64)
    return float(10 * np.log10((found**2).sum() / max(((found - other) ** 2).sum(), 1e-30)))


@pytest.mark.parametrize("kind", [Tuples, Subclasses])
def test_what_is_trained_is_what_is_exported(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    prepared = prepare(kind(), SCHEME, signals(2))
    calibrate(prepared, [signals(32)])
    optimizer = torch.optim.SGD(prepared.parameters(), 0.01)
    for step in range(3):
        loss = F.cross_entropy(prepared.train()(signals(16, step)), torch.arange(16) % 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    exported = export_qdq(prepared, signals(2), SCHEME, fixed_length=True)
    x = signals(32, 9)
    found = Reference(exported).run({"input": x.numpy()})["logits"]
    # Rounded biases and float sums in another order flip ties: a step of 1/255 here and there, 48 dB down.
    assert decibels(prepared.eval()(x), found) > 30
    assert len(strip_activations(exported)[1]) >= 8
    assert isinstance(prepared.network, kind)


def test_weights_stay_tied_settings_stay_and_dropout_is_active() -> None:
    prepared = prepare(Subclasses(), SCHEME, signals(2))
    calibrate(prepared, [signals(8)])
    assert prepared.training
    assert prepared.network.training  # calibration gives the mode back
    assert prepared.get_submodule("first").weight is prepared.get_submodule("second").weight
    assert (prepared.get_submodule("norm").eps, prepared.get_submodule("norm").momentum) == (1e-2, 0.03)
    x = signals(8)
    assert not torch.equal(prepared.train()(x), prepared(x))
    assert torch.equal(prepared.eval()(x), prepared(x))


def normed() -> list[nn.Module]:
    return [nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4)]


class Keeps(nn.Sequential):
    """The usual way to freeze norms."""

    def train(self, mode: bool = True) -> "Keeps":
        super().train(mode)
        self[1].training = False
        return self


def put_to_rest() -> nn.Module:
    model = nn.Sequential(*normed()).train()
    model[1].eval()
    return model


@pytest.mark.parametrize("make", [lambda: Keeps(*normed()).eval(), put_to_rest])
def test_a_frozen_norm_keeps_its_statistics(make: Callable[[], nn.Module]) -> None:
    prepared = prepare(make(), SCHEME, signals(2))
    calibrate(prepared, [signals(8)])
    before = prepared.get_submodule("1").running_mean.clone()
    prepared.eval().train()(1 + signals(8))
    recalibrate_batchnorm(prepared, [1 + signals(8)])
    assert torch.equal(prepared.get_submodule("1").running_mean, before)
    assert prepared.training


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_what_is_wrapped_around_a_network_is_taken_off(wrap: Callable[[nn.Module], nn.Module]) -> None:
    network = nn.Sequential(*normed()).eval()
    prepared = prepare(wrap(network), SCHEME, signals(2))
    assert {name for name in prepared.state_dict() if "edgekd" not in name} == set(network.state_dict())
    assert export_float(wrap(network), signals(2)) == export_float(network, signals(2))


class Auxiliary(nn.Module):
    """Calls more in training than in evaluation, before what evaluation calls too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.aux, self.head = nn.Conv1d(3, 8, 3), nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).mean(2)
        more = self.aux(x.clamp(min=0)) if self.training else 0.0
        return self.head(x) + more


def test_calls_are_the_same_ones_in_training_and_evaluation() -> None:
    prepared = prepare(Auxiliary(), SCHEME, signals(2))
    calibrate(prepared, [signals(8)])
    nn.init.zeros_(prepared.aux.weight)
    nn.init.zeros_(prepared.aux.bias)
    x = signals(8)
    for quantizer in prepared.edgekd_quantizers.values():
        quantizer.observing.fill_(False)
    assert torch.equal(prepared.train()(x), prepared.eval()(x))


class Branching(nn.Module):
    def __init__(self, ways: str) -> None:
        super().__init__()
        self.conv, self.ways = nn.Conv1d(3, 4, 3), ways

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.ways == "many samples" and x.shape[0] > 4:
            y = y.relu()
        if self.ways == "one sample" and x.shape[0] == 1:
            y = y.relu()
        if self.ways == "numpy":
            y = torch.from_numpy(y.detach().numpy())
        if self.ways == "a number":
            y = y * float(y.mean())  # the line that is to blame
        return y.mean(2)


@pytest.mark.parametrize("ways", ["many samples", "one sample"])
def test_a_branch_on_the_batch_is_refused(ways: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInputError, match="branches on its input: .* calls :relu.1 where .* calls :mean.1") as caught:
        prepare(Branching(ways), SCHEME, signals(2))
    assert "\n" not in str(caught.value)
    if ways == "many samples":
        with pytest.raises(BadInputError, match="branches on the size of its batch: .* up to 4 samples only"):
            export_float(Branching(ways), signals(2))
    assert capfd.readouterr() == ("", "")


def test_a_line_that_cannot_be_exported_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInputError) as caught:
        prepare(Branching("a number"), SCHEME, signals(2))
    message = str(caught.value)
    line = next(n for n, text in enumerate(open(__file__), 1) if "the line that is" in text)  # noqa: SIM115, PTH123
    assert message.startswith(f"{__file__}:{line}: `y = y * float(y.mean())")
    assert "make it independent of tensor values" in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_what_leaves_torch_is_refused() -> None:
    """By torch, which names the line, or by us where torch goes through with it."""
    with pytest.raises(BadInputError, match=r"leaves torch on the way|`y = torch.from_numpy\(.*: torch cannot export"):
        prepare(Branching("numpy"), SCHEME, signals(2))


class Checkpoints(nn.Sequential):
    """Computes its values again in the backward pass, rather than keep them."""

    def forward(self, x: Tensor) -> Tensor:
        again = super().forward
        return torch.utils.checkpoint.checkpoint(lambda x: again(x).sin(), x, use_reentrant=False)


class Sines(nn.Sequential):
    """The same values, kept."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sin()


def test_checkpointed_gradients_are_those_of_rounded_values() -> None:
    gradients = []
    for kind in (Sines, Checkpoints):
        torch.manual_seed(0)
        prepared = prepare(kind(*normed()), SCHEME, signals(2)).train()
        prepared(signals(8)).sum().backward()
        gradients.append([parameter.grad for parameter in prepared.parameters()])
    assert all(map(torch.equal, *gradients))
