"""Layers beyond convolution and ReLU: what is trained is what is exported, and nothing stays in float unnamed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.backends.reference import Reference, output_steps
from edgekd.quantization.float_fallback import float_layers
from edgekd.quantization.qat import calibrate, export_qdq, prepare
from edgekd.quantization.scheme import SCHEMES
from tests.quantization.nets import images

ASYMMETRIC = SCHEMES["int8-asymmetric"]


class Maps(nn.Module):
    """A norm with no layer before it, pieces, SiLU, transposed convolution, resize, shuffle, global maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.stem = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, 2, 1)
        self.swish, self.mix = nn.SiLU(), nn.Conv2d(4, 8, 1)
        self.up, self.up_norm = nn.ConvTranspose2d(8, 4, 2, 2, bias=False), nn.BatchNorm2d(4)
        self.resize, self.shuffle = nn.Upsample(scale_factor=2), nn.PixelShuffle(2)
        self.last, self.fc = nn.Conv2d(12, 8, 3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.chunk(self.stem(self.norm(x)), 2, dim=1)
        y = F.relu(self.mix(self.swish(first)))
        parts = [F.relu(self.up_norm(self.up(y))), self.resize(F.hardtanh(second, 0.0, 6.0)), self.resize(first)]
        return self.fc(self.last(torch.cat(parts, 1)).amax((2, 3)) + self.shuffle(y).mean((2, 3)).repeat(1, 4))


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.kernel = nn.Conv2d(3, 4, 3), nn.Parameter(torch.randn(4, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.stem(x), self.kernel).mean((2, 3))


@pytest.fixture(scope="module")
def prepared() -> nn.Module:
    torch.manual_seed(0)
    net = Maps().eval()
    for norm in (net.norm, net.up_norm):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    simulated = prepare(net, ASYMMETRIC, images(2))
    calibrate(simulated, [images(32)])
    return simulated


def test_what_is_simulated_is_what_is_exported(prepared: nn.Module) -> None:
    exported, x = export_qdq(prepared, images(2), ASYMMETRIC), images(32, seed=5)
    step = output_steps(exported)["logits"]
    assert step is not None
    with torch.no_grad():
        ours = prepared(x).numpy()
    theirs = Reference(exported).run({"input": x.numpy()})["logits"]
    assert theirs.std(0).mean() > 8 * step
    # Rounded biases and float sums in another order flip ties; each flip costs a step or two of the result.
    assert np.percentile(np.abs(ours - theirs) / step, 99) <= 3
    assert {str(layers).split(" in float")[0] for layers in float_layers(exported)} <= {"Expand", "Tile", "Add"}


def test_weights_of_functions_stay_float_and_are_named() -> None:
    simulated = prepare(Functional().eval(), ASYMMETRIC, images(2))
    calibrate(simulated, [images(8)])
    found, tail = float_layers(export_qdq(simulated, images(2), ASYMMETRIC))
    assert (found.kind, found.reason) == ("Conv", "its weight is not quantised")
    assert tail.kind == "Tail"
