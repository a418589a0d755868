"""Devices by URI: `local:` and whatever else has a module here, named by its scheme and offering `open_device(uri)`."""

import importlib

from edgekd.devices.transport import Device, Finished
from edgekd.errors import BadInputError
from edgekd.plugins import names, nearest

__all__ = ["Device", "Finished", "open_device", "transport_of"]


def open_device(uri: str) -> Device:
    """Open a device such as `local:`; BadInputError for an unknown scheme, DeviceError when it does not answer."""
    device: Device = importlib.import_module(f"{__name__}.{transport_of(uri)}").open_device(uri)
    return device


def transport_of(uri: str) -> str:
    """The transport that a URI names, nothing opened; BadInputError for an unknown one."""
    scheme, colon, _ = uri.partition(":")
    known = [name for name in names(__name__) if name != "transport"]
    if not colon or scheme not in known:
        raise BadInputError(f"unknown device {uri!r}{nearest(f'{scheme}:', [f'{name}:' for name in known])}")
    return scheme
