"""The user's own arrays in one `.npz`: x_train, y_train, x_test, y_test; optionally x_val, y_val, classes."""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from numpy.lib import format as npy

from edgekd.data import _members
from edgekd.data.dataset import Array
from edgekd.errors import BadInputError
from edgekd.reading import reading, require_file, unpacked_limit
from edgekd.recipe import Data

MEMBERS = 100_000
MAPPED = 16 << 20  # bytes from which an array may stay in the file


def read(data: Data) -> Mapping[str, Array]:
    """The arrays in `data.path`; uint8 images are (N, H, W) or (N, C, H, W), signed integers (N, L) are tokens.

    Other inputs become float32.
    """
    if data.path is None:
        raise BadInputError("data 'npz' needs data.path, the file with x_train, y_train, x_test and y_test")
    return map_npz(Path(data.path))


def read_npz(path: Path) -> dict[str, Array]:
    """Every array of an `.npz`; raise BadInputError when it is absent, corrupt, a bomb or holds Python objects.

    What each array promises is compared with what the file holds before memory is taken for it.
    """
    with _opened(path) as archive:
        return {member.name: _members.read(archive, member) for member in _within_limit(path, archive)}


def map_npz(path: Path) -> dict[str, Array]:
    """The same, but large arrays that are stored as they are, as `np.savez` does, are not in memory: they are mapped.

    The file must stay as it is while they are used; what is written into them does not reach it.
    """
    with _opened(path) as archive:
        return {
            member.name: _members.mapped(archive, member)
            if member.is_stored and member.entry.file_size >= MAPPED
            else _members.read(archive, member)
            for member in _within_limit(path, archive)
        }


def read_npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every array of an `.npz`, by its header alone; errors as `read_npz`."""
    with _opened(path) as archive:
        return {member.name: member.shape for member in _members.members(archive)}


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with reading(path, "a readable npz file"):
        with require_file(path).open("rb") as stream:
            if stream.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                raise BadInputError(f"{path}: holds one array; np.savez keeps several by name")
        with zipfile.ZipFile(path) as archive:
            yield archive


def _within_limit(path: Path, archive: zipfile.ZipFile) -> list[_members.Member]:
    entries, limit = archive.infolist(), unpacked_limit(path)
    if len(entries) > MEMBERS or sum(entry.file_size for entry in entries) > limit:
        raise BadInputError(f"{path}: unpacks to more than {limit:,} bytes, or to more than {MEMBERS:,} arrays")
    return _members.members(archive)
