"""What arrays from outside must be before anything is taught, calibrated or scored with them."""

from collections.abc import Sized

import numpy as np

from edgekd.data.dataset import Array
from edgekd.errors import BadInputError

CHUNK_BYTES = 64 << 20  # that are looked at at once


def numbers(inputs: Array, where: str) -> Array:
    """Return inputs (N, …) of finite numbers, uint8 and integers as they are, others float32; raise BadInputError."""
    if inputs.dtype.names is not None:
        for name in inputs.dtype.names:
            numbers(inputs[name].reshape(len(inputs), -1), f"{where}[{name!r}]")
        return inputs
    if inputs.ndim < 2 or inputs.dtype.kind not in "biuf":
        raise BadInputError(f"{where} must hold numbers (N, …), not {inputs.dtype} {inputs.shape}")
    if not inputs.size:
        raise BadInputError(f"{where} holds no samples: its shape is {inputs.shape}")
    if inputs.dtype.kind in "iu":
        return inputs
    with np.errstate(over="ignore"):
        values = inputs.astype(np.float32, copy=False)
    rows = max(1, CHUNK_BYTES * len(values) // values.nbytes)
    for start in range(0, len(values), rows):
        finite = np.isfinite(values[start : start + rows]).reshape(-1, values[0].size).all(1)
        if not finite.all():
            raise BadInputError(f"{where} is not finite in sample {start + int(finite.argmin())}")
    return values


def same_count(inputs: Sized, labels: Array, of_inputs: str, of_labels: str) -> None:
    """Raise BadInputError unless there are as many labels as samples, and at least one."""
    rows = len(labels) if labels.ndim else 0
    if not rows or len(inputs) != rows:
        raise BadInputError(f"{of_inputs} has {len(inputs)} samples, {of_labels} {rows}")
