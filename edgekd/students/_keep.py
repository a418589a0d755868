"""Fewer layers with the teacher's weights (DistilBERT's every other layer, Sanh et al., arXiv:1910.01108)."""

import copy
from collections.abc import Sequence

from torch import nn

from edgekd.errors import BadInputError
from edgekd.students._modules import find


def keep_layers(model: nn.Module, container: str, indices: Sequence[int]) -> nn.Module:
    """A copy in which the ModuleList or Sequential `container` holds only its layers at `indices`, in their order.

    Raises BadInputError for a name that is no container, and unless `indices` ascend within it.
    """
    derived = copy.deepcopy(model)
    layers = find(derived, container, (nn.ModuleList, nn.Sequential))
    children = list(layers._modules.items())
    _check(container, indices, len(children))
    kept = [children[index] for index in indices]
    numbered = all(name.isdecimal() for name, _ in children)
    layers._modules.clear()
    for place, (name, layer) in enumerate(kept):
        layers._modules[str(place) if numbered else name] = layer
    return derived


def _check(container: str, indices: Sequence[int], count: int) -> None:
    for index in indices:
        if not 0 <= index < count:
            raise BadInputError(f"{container!r} has {count} layers, 0…{count - 1}: there is no layer {index} to keep")
    if not indices or list(indices) != sorted(set(indices)):
        raise BadInputError(f"keep of {container!r} must ascend, each layer once, such as [0, 2], not {list(indices)}")
