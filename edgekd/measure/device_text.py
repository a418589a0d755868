"""What a device's shell says, behind one boundary: it may say anything."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from edgekd.errors import DeviceError, EdgekdError
from edgekd.reading import reason
from edgekd.schema import Schema, explain


@contextmanager
def understanding(who: str, what: str) -> Iterator[None]:
    """Turn whatever fails while a device's words are parsed into one line of DeviceError."""
    try:
        yield
    except EdgekdError:
        raise
    except Exception as error:
        told = explain(Schema, error) if isinstance(error, ValidationError) else reason(error)
        raise DeviceError(f"{who}: {what} makes no sense: {told}") from error
