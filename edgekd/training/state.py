"""Everything that a training changes, as one flat dictionary of tensors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.training.average import Average

MOMENTUM = "momentum_buffer"


@dataclass(frozen=True, eq=False)
class State:
    """The model, the objective's trained parts, the optimiser's momentum and, if any, the averaged weights."""

    model: nn.Module
    modules: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    average: Average | None

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        momentum = {name: self.optimizer.state[parameter].get(MOMENTUM) for name, parameter in self._parameters()}
        parts = {
            "model": self.model.state_dict(),
            "objective": self.modules.state_dict(),
            "momentum": {name: value for name, value in momentum.items() if value is not None},
            "average": self.average.values if self.average else {},
        }
        return {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take all of it back; raise BadInputError when it belongs to another model."""
        try:
            self.model.load_state_dict(_part(tensors, "model"))
            self.modules.load_state_dict(_part(tensors, "objective"))
        except RuntimeError as error:
            raise BadInputError("the checkpoint belongs to another model: delete it to train again") from error
        momentum = _part(tensors, "momentum")
        for name, parameter in self._parameters():
            if name in momentum:
                self.optimizer.state[parameter][MOMENTUM] = torch.empty_like(parameter).copy_(momentum[name])
        if self.average:
            for name, value in _part(tensors, "average").items():
                self.average.values[name].copy_(value)

    def finite(self) -> bool:
        """Whether no NaN or infinity has got in."""
        return all(bool(value.isfinite().all()) for value in self.tensors().values())

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for part, module in (("model", self.model), ("objective", self.modules)):
            for name, parameter in module.named_parameters():
                yield f"{part}.{name}", parameter


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}/"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
