"""What arrays from outside must be before anything is taught, calibrated or scored with them."""

import numpy as np

from edgekd.data.dataset import Array
from edgekd.errors import BadInputError


def numbers(inputs: Array, where: str) -> Array:
    """Return inputs (N, …) of finite numbers, uint8 and integers as they are, others float32; raise BadInputError."""
    if inputs.ndim < 2 or inputs.dtype.kind not in "biuf":
        raise BadInputError(f"{where} must hold numbers (N, …), not {inputs.dtype} {inputs.shape}")
    if not inputs.size:
        raise BadInputError(f"{where} holds no samples: its shape is {inputs.shape}")
    if inputs.dtype.kind in "iu":
        return inputs
    with np.errstate(over="ignore"):
        values = inputs.astype(np.float32, copy=False)
    finite = np.isfinite(values).reshape(len(values), -1).all(1)
    if not finite.all():
        raise BadInputError(f"{where} is not finite in sample {int(finite.argmin())}")
    return values


def class_indices(labels: Array, where: str, classes: int | None = None) -> Array:
    """Return labels (N,) as int64 class indices, below `classes` where that is known; raise BadInputError."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise BadInputError(f"{where} must hold integer labels (N,), class indices, not {labels.dtype} {labels.shape}")
    if labels.size and labels.min() < 0:
        raise BadInputError(f"{where} holds the negative label {labels.min()}: class indices start at 0")
    if labels.size and classes is not None and labels.max() >= classes:
        raise BadInputError(
            f"{where} holds the label {labels.max()}, but there are {classes} classes: indices 0 to {classes - 1}"
        )
    return labels.astype(np.int64)


def pair_scores(labels: Array, where: str, *, unlabelled: bool = False) -> Array:
    """Return scores (2P,) as float32, rows 2i and 2i+1 alike; NaN is no score, allowed where some are `unlabelled`.

    Raises BadInputError.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "iuf":
        raise BadInputError(f"{where} must hold scores of pairs (2P,), not {labels.dtype} {labels.shape}")
    scores = labels.astype(np.float32)
    first, second = scores[::2], scores[1::2]
    if len(first) != len(second) or not np.array_equal(first, second, equal_nan=True):
        raise BadInputError(f"{where} holds scores of pairs, so rows 2i and 2i+1 must both carry the score of theirs")
    if np.isinf(scores).any() or (np.isnan(scores).any() and not unlabelled):
        raise BadInputError(f"{where} holds scores that are not finite")
    return scores


def same_count(inputs: Array, labels: Array, of_inputs: str, of_labels: str) -> None:
    """Raise BadInputError unless there are as many labels as samples, and at least one."""
    rows = len(labels) if labels.ndim else 0
    if not rows or len(inputs) != rows:
        raise BadInputError(f"{of_inputs} has {len(inputs)} samples, {of_labels} {rows}")
