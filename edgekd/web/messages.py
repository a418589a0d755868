"""What a page posts: a header in JSON, its length before it, and raw arrays behind it. A browser may say anything."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from edgekd.errors import DeviceError
from edgekd.reading import reading
from edgekd.schema import Milliseconds, Positive, Schema

LIMIT = 2**26  # bytes of one message
SAMPLES = 1_000_000  # times of one replicate
Text = Annotated[str, Field(max_length=500)]
Size = Annotated[int, Field(ge=1, le=2**31)]
Array = np.ndarray[Any, Any]


class Hello(Schema):
    """A page that was opened, and what its browser tells of itself. Memory is in GiB, and rounded by the browser."""

    kind: Literal["hello"]
    agent: Text
    platform: Text
    cores: Annotated[int, Field(ge=1, le=4096)]
    memory_gib: Positive | None
    isolated: bool
    secure: bool
    gpu: Text | None


class Loaded(Schema):
    """A model that is ready: how long that took in a fresh worker, and what the runtime chose there.

    `clock_ms` is the step of the clock, `gpu` the adapter that WebGPU computes on.
    """

    kind: Literal["loaded"]
    ask: Text
    ms: Milliseconds
    threads: Annotated[int, Field(ge=1, le=4096)]
    clock_ms: Milliseconds
    gpu: Text | None


class Outputs(Schema):
    """Types and shapes of the arrays that follow, one per output."""

    kind: Literal["outputs"]
    ask: Text
    dtypes: tuple[Text, ...]
    shapes: tuple[tuple[Size, ...], ...]


class Timed(Schema):
    """Times in ms: of the first inference, of each `block` of them, divided by it, and of a second load."""

    kind: Literal["timed"]
    ask: Text
    first_ms: Milliseconds
    samples_ms: Annotated[tuple[Milliseconds, ...], Field(min_length=1, max_length=SAMPLES)]
    block: Annotated[int, Field(ge=1, le=10**6)]
    warm_load_ms: Milliseconds
    hidden: bool


class Failed(Schema):
    """Why nothing came of it."""

    kind: Literal["failed"]
    ask: Text
    error: Text


class Gone(Schema):
    """The page was closed, or loaded again."""

    kind: Literal["gone"]


Message = Hello | Loaded | Outputs | Timed | Failed | Gone
KINDS: Mapping[str, type[Message]] = {
    "hello": Hello, "loaded": Loaded, "outputs": Outputs, "timed": Timed, "failed": Failed, "gone": Gone,
}  # fmt: skip


def read_message(body: bytes) -> tuple[Message, bytes]:
    """The header and what follows it; BadInputError for anything else."""
    with reading("the browser", "a message"):
        (length,) = struct.unpack_from("<I", body)
        header = json.loads(body[4 : 4 + length])
        model = KINDS[header["kind"]]
    return model.parse(header, "the browser"), body[4 + length :]


def read_arrays(told: Outputs, content: bytes, specs: Sequence[Mapping[str, Any]], samples: int) -> list[Array]:
    """The arrays, if types, shapes and bytes are what the manifest and the number of samples ask for; DeviceError."""
    wanted = [(spec["name"], spec["dtype"], (samples, *spec["shape"][1:])) for spec in specs]
    if not len(wanted) == len(told.dtypes) == len(told.shapes):
        raise DeviceError(f"the browser sent {len(told.shapes)} outputs, the bundle has {len(wanted)}")
    arrays, begin = [], 0
    for (name, dtype, shape), sent, found in zip(wanted, told.dtypes, told.shapes, strict=True):
        fits = len(found) == len(shape) and all(size in (None, n) for size, n in zip(shape, found, strict=True))
        if not fits or sent != dtype:
            raise DeviceError(f"the browser sent {name!r} as {sent} {list(found)}, not {dtype} {list(shape)}")
        end = begin + math.prod(found) * np.dtype(dtype).itemsize
        if end > len(content):
            break
        arrays.append(np.frombuffer(content[begin:end], np.dtype(dtype).newbyteorder("<")).reshape(found))
        begin = end
    if len(arrays) < len(wanted) or begin != len(content):
        raise DeviceError(f"the browser sent {len(content)} bytes of outputs, its shapes are of others")
    return [array.astype(array.dtype.newbyteorder("=")) for array in arrays]
