"""Devices by URI: `local:` and whatever else has a module here, named by its scheme and offering `open_device(uri)`.

A transport that can list devices without calling them offers `discover()` too.
"""

import importlib

from edgekd.devices.transport import Device, Finished, Found
from edgekd.errors import BadInputError, DeviceError
from edgekd.plugins import names, nearest

__all__ = ["Device", "Finished", "Found", "discover", "open_device", "transport_of"]


def open_device(uri: str) -> Device:
    """Open a device such as `local:`; BadInputError for an unknown scheme, DeviceError when it does not answer."""
    device: Device = importlib.import_module(f"{__name__}.{transport_of(uri)}").open_device(uri)
    return device


def transport_of(uri: str) -> str:
    """The transport that a URI names, nothing opened; BadInputError for an unknown one."""
    scheme, colon, _ = uri.partition(":")
    known = _transports()
    if not colon or scheme not in known:
        hint = nearest(f"{scheme}:", [f"{name}:" for name in known])
        raise BadInputError(f"unknown device {uri!r}{hint}", hint="edgekd devices")
    return scheme


def discover() -> list[Found]:
    """What each transport knows of without calling anybody; where it cannot tell, its row's state says why."""
    return [found for name in _transports() for found in _listed(name)]


def _listed(name: str) -> list[Found]:
    module = importlib.import_module(f"{__name__}.{name}")
    try:
        found: list[Found] = module.discover() if hasattr(module, "discover") else []
    except DeviceError as error:
        return [Found(f"{name}:", str(error), "")]
    return found


def _transports() -> list[str]:
    return [name for name in names(__name__) if name != "transport"]
