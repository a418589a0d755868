"""Everything that a training changes, as one flat dictionary of tensors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.training.average import Average

BEST = "best"
# How many steps an optimiser has seen; torch keeps it on the CPU, whatever the device of the parameter.
STEP = "step"


@dataclass(frozen=True, eq=False)
class State:
    """The model, the objective's trained parts, the optimiser's tensors, perhaps an average, and the best weights."""

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
        parts = {
            "model": self.model.state_dict(),
            "objective": self.modules.state_dict(),
            "optimizer": dict(self._slots()),
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
        parameters = dict(self._parameters())
        for key, value in part(tensors, "optimizer").items():
            slot, _, name = key.partition("/")
            if name in parameters:
                self.optimizer.state[parameters[name]][slot] = _laid_out(slot, value, parameters[name])
        if self.average:
            for name, value in part(tensors, "average").items():
                self.average.values[name].copy_(value)

    def finite(self) -> bool:
        """Whether no NaN or infinity has got into what is trained."""
        return all(bool(parameter.isfinite().all()) for _, parameter in self._parameters())

    def _slots(self) -> Iterator[tuple[str, Tensor]]:
        """What the optimiser keeps of each parameter: SGD `momentum_buffer`; AdamW `exp_avg`, `exp_avg_sq`, `step`."""
        for name, parameter in self._parameters():
            for slot, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    yield f"{slot}/{name}", value

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for owner, module in (("model", self.model), ("objective", self.modules)):
            for name, parameter in module.named_parameters():
                yield f"{owner}.{name}", parameter


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """One part of a state, such as the `BEST` weights."""
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _laid_out(slot: str, value: Tensor, parameter: nn.Parameter) -> Tensor:
    """In the parameter's memory order, without which a resumed run would add in another order."""
    return value.clone() if slot == STEP else torch.empty_like(parameter).copy_(value)
