"""Samples as users have them (arrays, a loader, a data set, an npz) as batches that a network takes."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from edgekd.data._named import LABELS
from edgekd.data.npz import map_npz
from edgekd.errors import BadInputError
from edgekd.networks import Inputs, bare, call, device_of, each, evaluating, input_names, tensors_of, to_device
from edgekd.plugins import told

BATCH = 64


def sample_inputs(samples: Any, model: nn.Module, count: int = 512) -> list[Inputs]:
    """Return at most `count` samples in batches on the CPU, tried on the model.

    `samples` are an array, a tuple or a dictionary of arrays, one row a sample; the path of an npz of them; a torch
    Dataset; or batches, as a DataLoader gives them. Of a batch (inputs, labels) the labels are left out.
    Raises BadInputError, in one line, where there are none, or where the model does not take them.
    """
    batches, taken = list[Inputs](), 0
    try:
        for number, batch in enumerate(_batches(samples)):
            found = _cut(_inputs(batch, model, number), slice(count - taken))
            batches.append(found)
            taken += len(tensors_of(found)[0])
            if taken >= count:
                break
    except BadInputError:
        raise
    except Exception as error:  # the user's own code: anything may come out of it
        raise BadInputError(f"samples: batch {len(batches)}: {told(error)}") from error
    if not taken:
        raise BadInputError("samples: there are none")
    _try(model, batches[0])
    return batches


def as_arrays(model: nn.Module, batches: list[Inputs]) -> dict[str, NDArray[Any]]:
    """Return the samples of some batches by the names of the model's inputs."""
    columns = zip(*map(tensors_of, batches), strict=True)
    names = input_names(bare(model), batches[0])
    return {name: torch.cat(column).numpy() for name, column in zip(names, columns, strict=True)}


def _batches(samples: Any) -> Iterator[Any]:
    if isinstance(samples, str | Path):
        samples = _only(map_npz(Path(samples)))
    if isinstance(samples, Dataset):
        samples = DataLoader(samples, BATCH)
    if isinstance(samples, Tensor | np.ndarray | tuple | Mapping):
        whole = samples
        first = next(iter(_parts(whole)), None)
        rows = len(first) if isinstance(first, Tensor | np.ndarray) else 0
        yield from (_cut(whole, slice(start, start + BATCH)) for start in range(0, rows, BATCH))
    elif isinstance(samples, Iterable):
        yield from samples
    else:
        raise BadInputError(f"samples: arrays, a loader, a Dataset or an npz are wanted, not {type(samples).__name__}")


def _only(arrays: Mapping[str, Any]) -> Any:
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def _parts(whole: Any) -> Iterator[Any]:
    """The arrays of a tuple, of a dictionary, or of one within the other."""
    if isinstance(whole, tuple | list | Mapping):
        for part in whole.values() if isinstance(whole, Mapping) else whole:
            yield from _parts(part)
    else:
        yield whole


def _cut(whole: Any, rows: slice) -> Any:
    if isinstance(whole, Mapping):
        return {name: _cut(part, rows) for name, part in whole.items()}
    return tuple(_cut(part, rows) for part in whole) if isinstance(whole, tuple | list) else whole[rows]


def _inputs(batch: Any, model: nn.Module, number: int) -> Inputs:
    """What of a batch the model takes, as tensors."""
    if isinstance(batch, tuple | list):
        nested = len(batch) == 2 and isinstance(batch[0], tuple | list | Mapping)
        batch = batch[0] if nested else batch[: _taken(batch, model)]
        batch = batch[0] if isinstance(batch, tuple | list) and len(batch) == 1 else batch
    if isinstance(batch, Mapping):
        known = inspect.signature(bare(model).forward).parameters
        free = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
        batch = {name: part for name, part in batch.items() if (free or name in known) and name not in LABELS}
    inputs = each(batch, _tensor) if isinstance(batch, tuple | list | Mapping) else _tensor(batch)
    sizes = [len(value) if value.ndim else 0 for value in tensors_of(inputs)]
    if not sizes or len(set(sizes)) > 1 or not sizes[0]:
        raise BadInputError(f"samples: the inputs of batch {number} have {sizes or 'no'} samples")
    return inputs


def _taken(batch: Any, model: nn.Module) -> int:
    """How many of a batch's parts are inputs: as many as the model needs; refused where it may take more."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [each for each in inspect.signature(bare(model).forward).parameters.values() if each.kind in kinds]
    needed = sum(1 for parameter in known if parameter.default is inspect.Parameter.empty)
    if len(batch) < needed or any(known[place].default is None for place in range(needed, min(len(batch), len(known)))):
        names = ", ".join(parameter.name for parameter in known)
        raise BadInputError(
            f"samples: {len(batch)} tensors a batch for a model that takes ({names}): which of them are its inputs? "
            "give them as a dictionary by these names"
        )
    return max(1, needed)


def _tensor(value: Any) -> Tensor:
    if isinstance(value, np.ndarray):
        value = np.require(value, requirements="A")  # in a mapped file it may lie anywhere
    tensor = torch.as_tensor(value).detach().cpu()
    if tensor.is_floating_point():
        return tensor.float()
    return tensor if tensor.dtype in (torch.bool, torch.uint8) else tensor.long()


def _try(model: nn.Module, batch: Inputs) -> None:
    few = _cut(batch, slice(2))
    try:
        with torch.no_grad(), evaluating(model):
            call(model, to_device(few, device_of(model)))
    except Exception as error:  # the user's own code: anything may come out of it
        shapes = ", ".join(f"{value.dtype} {tuple(value.shape)}".removeprefix("torch.") for value in tensors_of(few))
        raise BadInputError(f"samples: the model cannot take {shapes}: {told(error)}") from error
