"""Everything that a training changes, as one flat dictionary of tensors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.training.average import Average

BEST = "best"
MOMENTUM = "momentum_buffer"


@dataclass(frozen=True, eq=False)
class State:
    """The model, the objective's trained parts, the optimiser's momentum, perhaps an average, and the best weights."""

    model: nn.Module
    modules: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    average: Average | None
    best: dict[str, Tensor] = field(default_factory=dict)

    def keep_best(self, network: nn.Module) -> None:
        """Remember the weights of what will be deployed as the best so far."""
        self.best.update({name: value.clone() for name, value in network.state_dict().items()})

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        momentum = {name: self.optimizer.state[parameter].get(MOMENTUM) for name, parameter in self._parameters()}
        parts = {
            "model": self.model.state_dict(),
            "objective": self.modules.state_dict(),
            "momentum": {name: value for name, value in momentum.items() if value is not None},
            "average": self.average.values if self.average else {},
            BEST: self.best,
        }
        return {f"{owner}/{name}": value for owner, values in parts.items() for name, value in values.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take all of it back; raise BadInputError when it belongs to another model."""
        try:
            self.model.load_state_dict(part(tensors, "model"))
            self.modules.load_state_dict(part(tensors, "objective"))
        except RuntimeError as error:
            raise BadInputError("the checkpoint belongs to another model: delete it to train again") from error
        self.best.update(part(tensors, BEST))
        momentum = part(tensors, "momentum")
        for name, parameter in self._parameters():
            if name in momentum:
                self.optimizer.state[parameter][MOMENTUM] = torch.empty_like(parameter).copy_(momentum[name])
        if self.average:
            for name, value in part(tensors, "average").items():
                self.average.values[name].copy_(value)

    def finite(self) -> bool:
        """Whether no NaN or infinity has got into what is trained."""
        return all(bool(parameter.isfinite().all()) for _, parameter in self._parameters())

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for owner, module in (("model", self.model), ("objective", self.modules)):
            for name, parameter in module.named_parameters():
                yield f"{owner}.{name}", parameter


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """One part of a state, such as the `BEST` weights."""
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
