"""Images come with channels last where that is fastest, but not where torch's kernels would write past their memory."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from edgekd.training.precision import place_model, runner

CPU = torch.device("cpu")


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight, stride=2)


def channels_come_last(model: nn.Module, channels: int) -> bool:
    """As its first module sees them."""
    seen: list[Tensor] = []
    place_model(model, CPU, 4)
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    runner(model, "float32", CPU)(torch.randn(2, channels, 8, 8))
    return seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("model", "channels", "last"),
    [
        (nn.Sequential(nn.Conv2d(4, 8, 3, stride=2)), 4, True),
        (nn.Sequential(nn.Conv2d(4, 8, 1)), 4, True),
        (nn.Sequential(nn.Conv2d(16, 8, 1, stride=2)), 16, True),
        (nn.Sequential(nn.Conv2d(4, 8, 1, stride=2)), 4, False),
        (nn.Sequential(nn.Conv2d(32, 8, 1, stride=(1, 2), groups=4)), 32, False),
        (Functional(), 4, False),
    ],
)
def test_channels_come_last_where_no_gradient_overflows(model: nn.Module, channels: int, last: bool) -> None:
    assert channels_come_last(model, channels) is last


def test_on_other_devices_they_come_last_all_the_same() -> None:
    """No GPU is needed: `meta` has the memory order alone."""
    model = nn.Conv2d(4, 8, 1, stride=2)
    place_model(nn.Sequential(model), torch.device("meta"), 4)
    assert model.weight.stride() == torch.empty(8, 4, 1, 1).to(memory_format=torch.channels_last).stride()


def test_a_strided_shortcut_of_few_channels_learns() -> None:
    """On CPUs without AVX-512 it left the heap broken; its gradients are those of float64, to float32's rounding."""
    code = """if True:
        import copy, torch
        from torch import nn
        from edgekd.training.precision import place_model, runner
        torch.manual_seed(0)
        cpu = torch.device("cpu")
        for size, channels in ((8, 4), (16, 2), (16, 5)):
            model = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 12, 1, stride=2))
            exact = copy.deepcopy(model).double()
            place_model(model, cpu, 4)
            run = runner(model, "float32", cpu)
            for _ in range(30):
                x = torch.randn(32, 1, size, size)
                exact.zero_grad()
                model.zero_grad()
                next(iter(run(x).values())).square().mean().backward()
                exact(x.double()).square().mean().backward()
                for ours, theirs in zip(model.parameters(), exact.parameters()):
                    torch.testing.assert_close(ours.grad, theirs.grad.float(), rtol=1e-3, atol=1e-4)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
