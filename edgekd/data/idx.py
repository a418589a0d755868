"""IDX, the format of MNIST and its kin: two zero bytes, a type code, the rank, big-endian sizes, then the values."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from edgekd.data.dataset import Array
from edgekd.errors import BadInputError

_UNSIGNED_BYTE = 8


def read_idx(path: Path, rank: int) -> Array:
    """The uint8 array of a file, gzipped or not; raise BadInputError when it is not IDX of that rank, or cut short."""
    content = _content(path)
    header = struct.calcsize(f">HBB{rank}I")
    if len(content) < header:
        raise BadInputError(f"{path}: too short to be an IDX file")
    zero, kind, found, *shape = struct.unpack_from(f">HBB{rank}I", content)
    if zero or kind != _UNSIGNED_BYTE or found != rank:
        raise BadInputError(f"{path}: not an IDX file of unsigned bytes and rank {rank}")
    if len(content) - header != math.prod(shape):
        raise BadInputError(f"{path}: its header promises {math.prod(shape)} values, it holds {len(content) - header}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()  # bytes are read-only


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise BadInputError(f"{path}: cannot be read: {error}") from error
