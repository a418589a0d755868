"""An exponential moving average of a network's weights and statistics."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Shadow of a model's floating-point state; after t updates the decay is min(decay, (1 + t) / (10 + t))."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.values: dict[str, Tensor] = {name: value.clone() for name, value in _floats(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Follow the model after step number `step`."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        for name, value in _floats(model).items():
            self.values[name].lerp_(value, share)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model wears the average while the block runs."""
        own = {name: value.clone() for name, value in _floats(model).items()}
        model.load_state_dict(self.values, strict=False)
        try:
            yield
        finally:
            model.load_state_dict(own, strict=False)


def _floats(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
