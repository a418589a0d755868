"""Devices by URI: `local:` and whatever else has a module here, or in a plug-in, named by its scheme.

It offers `open_device(uri)`; a transport that can list devices without calling them offers `discover()` too.
"""

import importlib

from edgekd.devices._runner import start_command
from edgekd.devices.transport import Device, Finished, Found
from edgekd.errors import BadInputError, DeviceError
from edgekd.plugins import modules, nearest

__all__ = ["Device", "Finished", "Found", "discover", "open_device", "start_command", "transport_of"]


def open_device(uri: str) -> Device:
    """Open a device such as `local:`; BadInputError for an unknown scheme, DeviceError when it does not answer."""
    device: Device = importlib.import_module(transport_of(uri)).open_device(uri)
    return device


def transport_of(uri: str) -> str:
    """The module of the transport that a URI names, nothing opened; BadInputError for an unknown one."""
    scheme, colon, _ = uri.partition(":")
    known = _transports()
    if not colon or scheme not in known:
        hint = nearest(f"{scheme}:", [f"{name}:" for name in known])
        raise BadInputError(f"unknown device {uri!r}{hint}", hint="edgekd devices")
    return known[scheme]


def discover() -> list[Found]:
    """What each transport knows of without calling anybody; where it cannot tell, its row's state says why."""
    return [found for name, module in _transports().items() for found in _listed(name, module)]


def _listed(name: str, path: str) -> list[Found]:
    module = importlib.import_module(path)
    try:
        found: list[Found] = module.discover() if hasattr(module, "discover") else []
    except DeviceError as error:
        return [Found(f"{name}:", str(error), "")]
    return found


def _transports() -> dict[str, str]:
    return {name: module for name, module in modules(__name__).items() if name != "transport"}
