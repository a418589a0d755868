"""One tensor as the model sees it (float, NCHW) and as a bundle stores it (its own dtype and layout)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bundle import Manifest, TensorSpec

Array = NDArray[Any]


def to_bundle(spec: TensorSpec, array: Array) -> Array:
    """Quantised where the bundle is (half to even, saturating), channels where it wants them."""
    if spec.scale is not None:
        limits = np.iinfo(spec.dtype)
        steps = np.rint(array / np.float32(spec.scale)) + (spec.zero_point or 0)
        array = np.clip(steps, limits.min, limits.max)
    if spec.layout == "NHWC":
        array = np.moveaxis(array, 1, -1)
    return np.ascontiguousarray(array, dtype=spec.dtype)


def stored_inputs(manifest: Manifest, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """A model's inputs by name as its bundle takes them."""
    return {spec.name: to_bundle(spec, inputs[spec.name]) for spec in manifest.inputs}


def from_bundle(spec: TensorSpec, array: Array) -> Array:
    """The inverse: float32 for quantised tensors, channels second; other types are kept."""
    if spec.layout == "NHWC":
        array = np.moveaxis(array, -1, 1)
    if spec.scale is not None:
        array = (array.astype(np.float32) - np.float32(spec.zero_point or 0)) * np.float32(spec.scale)
    return np.ascontiguousarray(array)
