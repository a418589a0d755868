"""The user's own arrays in one `.npz`: x_train, y_train, x_test, y_test; optionally x_val, y_val, classes."""

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from edgekd.data.dataset import Array
from edgekd.data.raw import Raw, from_arrays
from edgekd.errors import BadInputError
from edgekd.recipe import Data

# What zipfile, zlib and numpy's parser of headers raise for bytes that are not theirs, or for a size that is too large.
DAMAGE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, NotImplementedError, MemoryError, RecursionError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def read(data: Data) -> Raw:
    """The arrays in `data.path`; uint8 images are (N, H, W) or (N, C, H, W), signed integers (N, L) are tokens.

    Other inputs become float32.
    """
    if data.path is None:
        raise BadInputError("data 'npz' needs data.path, the file with x_train, y_train, x_test and y_test")
    return from_arrays(read_npz(Path(data.path)), data.path)


def read_npz(path: Path) -> dict[str, Array]:
    """Every array of an `.npz`; raise BadInputError when it is absent, corrupt or holds Python objects."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise BadInputError(f"{path}: holds one array; np.savez keeps several by name")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file") from error
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInputError(f"{path}: not a readable npz file: {reason}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands the bytes of any other file on
            raise BadInputError(f"{path}: not a readable npz file: {name!r} is no array")
    return arrays
