"""IDX, the format of MNIST and its kin: two zero bytes, a type code, the rank, big-endian sizes, then the values."""

import gzip
import math
import struct
from pathlib import Path

import numpy as np

from edgekd.data.dataset import Array
from edgekd.errors import BadInputError
from edgekd.reading import reading, require_file, unpacked_limit

_UNSIGNED_BYTE = 8


def read_idx(path: Path, rank: int) -> Array:
    """The uint8 array of a file, gzipped or not; raise BadInputError when it is not IDX of that rank, or cut short."""
    with reading(path, "readable"):
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
    limit = unpacked_limit(require_file(path))
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise BadInputError(f"{path}: unpacks to more than {limit:,} bytes")
    return content
