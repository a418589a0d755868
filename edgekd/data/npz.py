"""The user's own arrays in one `.npz`: x_train, y_train, x_test, y_test; optionally x_val, y_val, classes."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

from edgekd.data.dataset import Array
from edgekd.errors import BadInputError
from edgekd.reading import reading, require_file, unpacked_limit
from edgekd.recipe import Data

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
MEMBERS = 100_000


def read(data: Data) -> Mapping[str, Array]:
    """The arrays in `data.path`; uint8 images are (N, H, W) or (N, C, H, W), signed integers (N, L) are tokens.

    Other inputs become float32.
    """
    if data.path is None:
        raise BadInputError("data 'npz' needs data.path, the file with x_train, y_train, x_test and y_test")
    return read_npz(Path(data.path))


def read_npz(path: Path) -> dict[str, Array]:
    """Every array of an `.npz`; raise BadInputError when it is absent, corrupt, a bomb or holds Python objects.

    What each array promises is compared with what the file holds before memory is taken for it.
    """
    with reading(path, "a readable npz file"):
        limit = unpacked_limit(require_file(path))
        _require_archive(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS or sum(member.file_size for member in members) > limit:
                raise BadInputError(f"{path}: unpacks to more than {limit:,} bytes, or to more than {MEMBERS:,} arrays")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}


def read_npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every array of an `.npz`, by its header alone; errors as `read_npz`."""
    with reading(path, "a readable npz file"):
        require_file(path)
        _require_archive(path)
        with zipfile.ZipFile(path) as archive:
            return {member.filename.removesuffix(".npy"): _shape(archive, member) for member in archive.infolist()}


def _shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    with archive.open(member) as stream:
        return _require_whole(stream, member)


def _require_archive(path: Path) -> None:
    with path.open("rb") as stream:
        if stream.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            raise BadInputError(f"{path}: holds one array; np.savez keeps several by name")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as stream:
        _require_whole(stream, member)
    with archive.open(member) as stream:
        array: Array = npy.read_array(stream, allow_pickle=False)
        return array


def _require_whole(stream: IO[bytes], member: zipfile.ZipInfo) -> tuple[int, ...]:
    """Return a member's shape; raise ValueError where its header promises other numbers than its bytes hold."""
    if stream.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
        raise ValueError(f"{member.filename.removesuffix('.npy')!r} is no array")
    stream.seek(0)
    read_header = HEADERS.get(npy.read_magic(stream))
    if read_header is None:
        raise ValueError(f"{member.filename!r} is in a format that numpy writes for no numbers")
    shape, _, dtype = read_header(stream)
    promised, held = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{member.filename!r} holds Python objects")
    if promised != held:
        raise ValueError(f"{member.filename!r} promises {promised:,} bytes and holds {held:,}")
    return tuple(shape)
