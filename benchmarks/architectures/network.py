"""A network of the table: how it is built, what it is fed, and how random weights are made to count."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]
Inputs = Callable[[int, int], Array]
"""(count, seed) → samples as the network takes them."""

FITTED_ON = 128  # samples that batch norms and heads are fitted to
GAIN = 0.1  # of a branch beside a skip, small as where training starts (Goyal et al., arXiv:1706.02677)
SPREAD = 5.0  # a fitted head's outputs have a standard deviation of 1, around means from -SPREAD to SPREAD


@dataclass(frozen=True)
class Network:
    """One row.

    Attributes:
        title: what it is, with its paper.
        build: makes it, untrained or with the weights of a package.
        inputs: its samples.
        heads: modules that make its outputs; empty where the weights are trained ones.
        length: tokens per sample where an input is a sequence of free length.
    """

    title: str
    build: Callable[[], nn.Module]
    inputs: Inputs
    heads: tuple[str, ...] = ()
    length: int | None = None

    def ready(self, seed: int = 0) -> nn.Module:
        """The network in evaluation mode, fitted where its weights are random."""
        torch.manual_seed(seed)
        model = self.build().eval()
        if self.heads:
            calm(model)
            fit(model, torch.from_numpy(self.inputs(FITTED_ON, seed)), self.heads)
        return model


def calm(model: nn.Module) -> None:
    """Let skips outweigh their branches, in place: else what random weights make of a rounding grows into noise."""
    for block in model.modules():
        branch = getattr(block, "branch", None)
        if isinstance(branch, nn.Sequential) and getattr(block, "skip", True):
            norms = [layer for layer in branch.modules() if isinstance(layer, nn.BatchNorm2d)]
            nn.init.constant_(norms[-1].weight, GAIN)


def fit(model: nn.Module, x: Tensor, heads: Sequence[str]) -> None:
    """Give random weights the statistics of trained ones: batch norms that know their inputs, heads that move.

    Every output channel gets a mean of its own and a standard deviation of 1 over x, in place.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    for name in heads:
        _standardise(model, model.get_submodule(name), x)


def _standardise(model: nn.Module, head: nn.Module, x: Tensor) -> None:
    seen: list[Tensor] = []
    handle = head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        model(x)
        handle.remove()
        channels = -1 if isinstance(head, nn.Linear) else 1
        output = torch.cat([part.movedim(channels, -1).flatten(0, -2) for part in seen])
        mean, gain = output.mean(0), 1 / output.std(0).clamp(min=1e-6)
        weight, bias = head.weight, head.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        axis = 1 if isinstance(head, nn.ConvTranspose2d) else 0
        weight.mul_(gain.reshape([-1 if place == axis else 1 for place in range(weight.ndim)]))
        bias.sub_(mean).mul_(gain).add_(torch.linspace(-SPREAD, SPREAD, len(bias)))


def blobs(*shape: int) -> Inputs:
    """Low-frequency blobs and noise, with a mean and a contrast of their own per sample and channel."""

    def draw(count: int, seed: int) -> Array:
        random = np.random.default_rng(seed)
        channels, sizes = shape[0], shape[1:]
        coarse = random.normal(0, 1, (count, channels, *(-(-size // 8) for size in sizes)))
        for axis, size in enumerate(sizes, start=2):
            coarse = coarse.repeat(8, axis).take(range(size), axis)
        ones = (1,) * len(sizes)
        mean, contrast = random.normal(0, 1, (count, channels, *ones)), random.uniform(0.3, 2, (count, channels, *ones))
        fine = coarse + random.normal(0, 0.3, (count, *shape))
        return (fine * contrast + mean).astype(np.float32)

    return draw


def tokens(vocabulary: int, length: int) -> Inputs:
    """Sentences of random words, between a quarter and all of `length` long, then padding."""

    def draw(count: int, seed: int) -> Array:
        random = np.random.default_rng(seed)
        words = random.integers(1, vocabulary, (count, length))
        kept = random.integers(max(1, length // 4), length + 1, (count, 1))
        return np.where(np.arange(length) < kept, words, 0).astype(np.int64)

    return draw
