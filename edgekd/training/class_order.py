"""A teacher whose classes come in another order than the data's, brought to theirs by name."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.networks import named_outputs
from edgekd.outputs import LOGITS, one
from edgekd.plugins import nearest


class InOrder(nn.Module):
    """A `network` whose logits (N, C, …) are picked from its own by `order`; its layers are `network.…`."""

    order: Tensor

    def __init__(self, network: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("order", torch.tensor(order))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the network returns, of several outputs by name, with logits in order."""
        answer = self.network(*inputs, **named)
        if isinstance(answer, Tensor):
            return answer[:, self.order]
        outputs = named_outputs(answer)
        return {**outputs, LOGITS: one(outputs, None, "the order of classes", "the teacher")[:, self.order]}


def in_order(network: nn.Module, names: Sequence[str], wanted: Sequence[str]) -> InOrder:
    """Return the network, whose classes have these `names` in the order of its outputs, with those `wanted`, in order.

    Raises BadInputError for a class that it does not know, and for a name that it has twice.
    """
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise BadInputError(f"map_classes: the teacher has {twice!r} twice")
    for name in wanted:
        if name not in names:
            raise BadInputError(f"map_classes: the teacher does not know {name!r}{nearest(name, names)}")
    return InOrder(network, [list(names).index(name) for name in wanted])
