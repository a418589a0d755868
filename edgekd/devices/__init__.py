"""Devices by URI: `local:` and whatever else has a module here, named by its scheme and offering `open_device(uri)`."""

import importlib

from edgekd.devices.transport import Device, Finished
from edgekd.errors import BadInputError
from edgekd.plugins import names, nearest

__all__ = ["Device", "Finished", "open_device"]


def open_device(uri: str) -> Device:
    """Open a device such as `local:`; BadInputError for an unknown scheme, DeviceError when it does not answer."""
    scheme, colon, _ = uri.partition(":")
    known = [name for name in names(__name__) if name != "transport"]
    if not colon or scheme not in known:
        raise BadInputError(f"unknown device {uri!r}{nearest(f'{scheme}:', [f'{name}:' for name in known])}")
    device: Device = importlib.import_module(f"{__name__}.{scheme}").open_device(uri)
    return device
