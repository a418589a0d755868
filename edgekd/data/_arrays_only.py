"""Pickled arrays without pickle's danger: only numpy's own arrays and types come out, nothing is called or imported."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from edgekd.data.dataset import Array
from edgekd.reading import reading, require_file


def read_objects(path: Path) -> Any:
    """The object in a `.npy` of one pickled object made of containers, numbers, texts and arrays.

    Raises BadInputError for a file that is damaged, of another kind, or asks for anything else.
    """
    with reading(path, "readable"), require_file(path).open("rb") as file:
        if npy.read_magic(file) != (1, 0):
            raise ValueError("not a .npy file of version 1.0")
        shape, _, dtype = npy.read_array_header_1_0(file)
        if shape != () or dtype.kind != "O":
            raise ValueError(f"an array {shape} of {dtype}, not one object")
        return _ArraysOnly(file).load().item()


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module.replace("numpy._core", "numpy.core"), name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data") from None


def _empty(kind: type[Array], shape: tuple[int, ...], code: bytes) -> Array:
    """What numpy reconstructs an array from; its state follows."""
    return kind(shape, np.dtype(code.decode()))


def _bytes(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    return text.encode(encoding)


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("_codecs", "encode"): _bytes,
}
