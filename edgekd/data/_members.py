"""The arrays of an `.npz` where they lie in the file: what each promises is checked, a stored one can be mapped."""

import math
import struct
import zipfile
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

Array = NDArray[Any]

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
MARK, LOCAL = b"PK\x03\x04", struct.Struct("<26xHH")  # a member's own header: how long its name and its extras are
BLOCK = 1 << 20  # bytes that are read at once where nothing is kept


@dataclass(frozen=True)
class Member:
    """An array in a zip file: where its bytes begin there, how it is described, and how many bytes that takes."""

    entry: zipfile.ZipInfo
    start: int
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    header: int

    @property
    def name(self) -> str:
        """What it is called."""
        return self.entry.filename.removesuffix(".npy")

    @property
    def is_stored(self) -> bool:
        """Whether the file holds its bytes as they are."""
        return self.entry.compress_type == zipfile.ZIP_STORED and self.entry.compress_size == self.entry.file_size


def members(archive: zipfile.ZipFile) -> list[Member]:
    """Return the arrays of a zip file, unread.

    Raises ValueError where one lies beyond the file or within another, is no array of numbers or texts, or promises
    other numbers than its bytes hold.
    """
    starts, end = dict[int, int](), archive.start_dir
    for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset, reverse=True):
        start = starts[entry.header_offset] = _start(archive, entry)
        if start + entry.compress_size > end:
            raise ValueError(f"{entry.filename!r} reaches into what follows it")
        end = entry.header_offset
    return [_member(archive, entry, starts[entry.header_offset]) for entry in archive.infolist()]


def read(archive: zipfile.ZipFile, member: Member) -> Array:
    """Return an array in memory."""
    with archive.open(member.entry) as stream:
        array: Array = npy.read_array(stream, allow_pickle=False)
        return array


def mapped(archive: zipfile.ZipFile, member: Member) -> Array:
    """Return an array that `is_stored` and stays in the file, which is read once for its checksum.

    What is written into the array does not reach the file; the file must stay as it is while the array is used.
    """
    with archive.open(member.entry) as stream:
        while stream.read(BLOCK):
            pass
    file: Any = archive.fp  # the one that was checked, whatever its path leads to by now
    place = member.start + member.header
    return np.asarray(np.memmap(file, member.dtype, "c", place, member.shape, "F" if member.fortran else "C"))


def _start(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its own header, which may be longer than that in the directory."""
    assert archive.fp is not None
    archive.fp.seek(entry.header_offset)
    found = archive.fp.read(LOCAL.size)
    if len(found) < LOCAL.size or not found.startswith(MARK):
        raise ValueError(f"{entry.filename!r} is not where the directory says")
    name, extra = LOCAL.unpack(found)
    return int(entry.header_offset + LOCAL.size + name + extra)


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, start: int) -> Member:
    with archive.open(entry) as stream:
        shape, fortran, dtype = _described(stream, entry.filename)
        header = stream.tell()
    promised, held = math.prod(shape) * dtype.itemsize, entry.file_size - header
    if dtype.hasobject:
        raise ValueError(f"{entry.filename!r} holds Python objects")
    if promised != held:
        raise ValueError(f"{entry.filename!r} promises {promised:,} bytes and holds {held:,}")
    return Member(entry, start, tuple(shape), fortran, dtype, header)


def _described(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    if stream.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
        raise ValueError(f"{name.removesuffix('.npy')!r} is no array")
    stream.seek(0)
    read_header = HEADERS.get(npy.read_magic(stream))
    if read_header is None:
        raise ValueError(f"{name!r} is in a format that numpy writes for no numbers")
    return read_header(stream)
