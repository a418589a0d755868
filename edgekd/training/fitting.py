"""Which state dict of a file is a network's, and under what prefix: DataParallel's `module.`, Lightning's `model.`."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from edgekd.errors import BadInputError
from edgekd.plugins import nearest

Tensors = dict[str, Tensor]

_COMPILED = "_orig_mod."  # torch.compile's, before the name of whatever was compiled
_COUNT = ".num_batches_tracked"  # which old files lack, and which only a momentum of None reads


def fitting(found: Mapping[str, Tensors], state: Mapping[str, Tensor], path: Path) -> Tensors:
    """The tensors that fill `state`, by its names, out of a file's state dicts by the keys that lead to them.

    Raises BadInputError, naming the key or the prefix in the way, when none fits, and when several do.
    """
    fits = {where: _bare(tensors, state) for where, tensors in found.items()}
    whole = [where for where, tensors in fits.items() if tensors is not None]
    if len(whole) > 1:
        names = " and ".join(map(repr, sorted(whole)))
        raise BadInputError(f"{path}: the weights under {names} fit alike; save those that you mean on their own")
    if not whole:
        raise _misfit(found, state, path)
    tensors = fits[whole[0]] or {}
    for name, value in tensors.items():
        if value.shape != state[name].shape:
            raise BadInputError(f"{path}: {name!r} is {tuple(value.shape)}, the model's {tuple(state[name].shape)}")
    return tensors


def _bare(tensors: Tensors, state: Mapping[str, Tensor]) -> Tensors | None:
    """A state dict by a network's own names; None where a name is missing or, without a prefix, one is too many."""
    for prefix in _prefixes(tensors, state):
        own = _under(prefix, tensors)
        if not _missing(own, state) and not own.keys() - state.keys():
            return {name: value for name, value in state.items() if name.endswith(_COUNT)} | own
    return None


def _prefixes(tensors: Tensors, state: Mapping[str, Tensor]) -> list[str]:
    """What may stand before a network's names, most names first."""
    first = next((name for name in state if not name.endswith(_COUNT)), "")
    plain = [name.replace(_COMPILED, "") for name in tensors]
    prefixes = {name.removesuffix(first) for name in plain if name == first or name.endswith(f".{first}")}
    return sorted(prefixes | {""}, key=lambda prefix: (len(_missing(_under(prefix, tensors), state)), prefix))


def _under(prefix: str, tensors: Tensors) -> Tensors:
    plain = {name.replace(_COMPILED, ""): value for name, value in tensors.items()}
    return {name.removeprefix(prefix): value for name, value in plain.items() if name.startswith(prefix)}


def _missing(tensors: Tensors, state: Mapping[str, Tensor]) -> list[str]:
    return [name for name in state if name not in tensors and not name.endswith(_COUNT)]


def _misfit(found: Mapping[str, Tensors], state: Mapping[str, Tensor], path: Path) -> BadInputError:
    """What keeps the nearest of a file's state dicts from fitting."""
    near = {(where, prefix): _under(prefix, tensors) for where, tensors in found.items()
            for prefix in _prefixes(tensors, state)}  # fmt: skip
    (where, prefix), tensors = min(near.items(), key=lambda item: len(_missing(item[1], state)))
    place = f" in {where!r}" if where else ""
    place += f" under {prefix!r}" if prefix else ""
    extra = tensors.keys() - state.keys()
    if missing := _missing(tensors, state):
        return BadInputError(f"{path}{place}: no weights for {missing[0]!r}{nearest(missing[0], extra)}")
    name = min(extra)
    return BadInputError(f"{path}{place}: the model has no {name!r}{nearest(name, state)}")
