"""Several inputs of a sample as one structured array, a field each: it is indexed, split and stored as any array."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import BadInputError
from edgekd.plugins import told

Array = NDArray[Any]
LABELS = frozenset({"label", "labels", "target", "targets"})  # what of a sample by name is no input


def apart(sample: Mapping[str, Any], where: str) -> tuple[Any, Any]:
    """Return inputs and labels of a sample, or of many, by name; a single input alone, several by name.

    Of two things of which none is called as labels are, the second is taken for them.
    Raises BadInputError, naming what there is, unless there is one that is called as labels are, and inputs.
    """
    inputs = {name: value for name, value in sample.items() if name not in LABELS}
    labels = [value for name, value in sample.items() if name in LABELS]
    if not labels and len(inputs) == 2:
        first, second = inputs.values()
        return first, second
    if len(labels) != 1 or not inputs:
        there = ", ".join(map(str, sample)) or "nothing"
        raise BadInputError(f"{where} holds {there}: the model's inputs by name are wanted, and one of label or labels")
    return (inputs if len(inputs) > 1 else next(iter(inputs.values()))), labels[0]


def packed(inputs: Mapping[str, Any], where: str, axes: int = 1) -> Array:
    """Return inputs by name as one structured array of their first `axes`: (N,) of arrays (N, …), floats as float32.

    Raises BadInputError for what is no array of numbers, or where one has more samples than another.
    """
    arrays = {name: _array(value, f"{where}: {name}") for name, value in inputs.items()}
    counts = {name: array.shape[:axes] for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise BadInputError(f"{where}: {', '.join(f'{name} has {count} samples' for name, (count,) in counts.items())}")
    kinds = [(name, array.dtype, array.shape[axes:]) for name, array in arrays.items()]
    whole = np.empty(next(iter(counts.values())), kinds)
    for name, array in arrays.items():
        whole[name] = array
    return whole


def shapes(inputs: Any) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
    """Return the shape of a sample of inputs (N, …); of several, each one's by name."""
    fields = inputs.dtype.fields
    return inputs.shape[1:] if fields is None else {name: kind.shape for name, (kind, *_) in fields.items()}


def _array(value: Any, where: str) -> Array:
    try:
        array = np.asarray(value)
    except Exception as error:  # ragged lists, tensors with gradients or on a GPU: whatever their own code raises
        raise BadInputError(f"{where} is no array that numpy can read: {told(error)}") from error
    if array.dtype.kind not in "biuf":
        raise BadInputError(f"{where} holds {array.dtype}, no numbers: leave it out, or turn it into numbers")
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
