"""What a device sends back as a bundle's outputs, held against the manifest before anything is made of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.bundle import TensorSpec
from edgekd.data.npz import read_npz
from edgekd.errors import BadInputError, DeviceError

Array = np.ndarray[Any, Any]


def read_predictions(path: Path, outputs: Sequence[TensorSpec], samples: int, uri: str) -> dict[str, Array]:
    """Return outputs by name, samples first, in the bundle's own types and layout.

    Raises DeviceError, naming the device's `uri`, unless they are those of the manifest for so many samples.
    """
    try:
        arrays = read_npz(path)
    except BadInputError as error:
        raise DeviceError(f"{uri} sent predictions that are {str(error).removeprefix(f'{path}: ')}") from error
    if arrays.keys() != {spec.name for spec in outputs}:
        wanted, found = (", ".join(sorted(names)) or "nothing" for names in ({s.name for s in outputs}, arrays))
        raise DeviceError(f"{uri} sent the outputs {found}; the bundle has {wanted}")
    for spec in outputs:
        _require(arrays[spec.name], spec, samples, uri)
    return arrays


def require_finite(outputs: Mapping[str, Array], uri: str, first: int = 0) -> None:
    """Raise DeviceError, naming the device's `uri` and the sample, counted from `first`, for what is not finite."""
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            sample = first + int(np.isfinite(array).reshape(len(array), -1).all(1).argmin())
            raise DeviceError(f"{uri} answered {name!r} with values that are not finite, first in sample {sample}")


def _require(array: Array, spec: TensorSpec, samples: int, uri: str) -> None:
    wanted = (samples, *spec.shape[1:])
    fits = len(array.shape) == len(wanted) and all(
        size in (None, found) for size, found in zip(wanted, array.shape, strict=True)
    )
    if not fits or array.dtype != spec.dtype:
        shown = f"({', '.join('any' if size is None else str(size) for size in wanted)})"
        raise DeviceError(f"{uri} sent {spec.name!r} as {array.dtype} {array.shape}, not {spec.dtype} {shown}")
