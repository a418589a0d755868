"""What a device's Python has of what bundles need, and the command that gets the rest there."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from edgekd.devices import Device
from edgekd.measure.device_text import understanding
from edgekd.measure.facts import Machine
from edgekd.needs import Needs

OLDEST = (3, 8)
INVENTORY = """
import importlib, importlib.metadata as m, importlib.util as u, json, os, sys, sysconfig
found = {}
for name in sys.argv[1:]:
    module, _, lists = name.partition(":")
    try: there = u.find_spec(module)
    except Exception: there = None  # a part of a package that is not there
    if there:
        try:
            said = getattr(importlib.import_module(module), lists)() if lists else [m.version(module.replace("_", "-"))]
            found[name] = " ".join(said)
        except Exception: found[name] = "found"
managed = os.path.exists(os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED"))
own = sys.prefix != sys.base_prefix
print(json.dumps({"modules": found, "bits": 64 if sys.maxsize > 2**32 else 32, "home": os.path.expanduser("~"),
                  "managed": managed and not own}))
"""


@dataclass(frozen=True)
class Python:
    """A device's Python: `version` is empty where there is none; `managed` means that pip may not install into it."""

    path: str
    version: tuple[int, ...] = ()
    modules: dict[str, str] = field(default_factory=dict)
    bits: int = 64
    home: str = "~"
    managed: bool = False

    @classmethod
    def of(cls, path: str, machine: Machine, inventory: str) -> "Python":
        """From what `INVENTORY` printed there; nothing where it did not run."""
        version = tuple(int(part) for part in (machine.python or "").split(".")[:2] if part)
        said = [line for line in inventory.splitlines() if line.startswith("{")]  # modules may have their say, too
        told = json.loads(said[-1] if said else "{}")
        return TypeAdapter(cls).validate_python({**told, "path": path, "version": version})

    @classmethod
    def on(cls, device: Device, machine: Machine, inventory: str) -> "Python":
        """The same of a device's own; DeviceError for what makes no sense."""
        with understanding(device.uri, "what it says of its Python"):
            return cls.of(device.python, machine, inventory)

    @property
    def new_enough(self) -> bool:
        """Whether it can run the runner."""
        return self.version >= OLDEST

    @property
    def pip(self) -> str:
        """What installs into it, or into a folder of its own beside it."""
        return f"{self.venv}/bin/python -m pip" if self.managed else f"{self.path} -m pip"

    @property
    def venv(self) -> str:
        """Where packages may be installed if not into this Python itself."""
        return f"{self.home}/edgekd"


def python_on(device: Device, machine: Machine, needs: Iterable[Needs]) -> Python:
    """What a device's Python has of what is needed."""
    said = device.run([device.python, "-c", INVENTORY, *probes(needs)], timeout=120)
    return Python.on(device, machine, said.stdout if said.code == 0 else "")


def probes(needs: Iterable[Needs]) -> list[str]:
    """What an inventory looks for."""
    return ["numpy", *(probe for each in needs for probe in each.probes)]


def how_to_get(needs: Needs, python: Python, machine: Machine) -> str:
    """The command for this device, or why there is none."""
    way = needs.way(python.version, python.bits, is_jetson(machine))
    return way.told.format(pip=python.pip, python=".".join(map(str, python.version)))


def how_to_get_numpy(python: Python) -> str:
    """PyPI has no wheel of it for a 32-bit Python."""
    return "sudo apt-get install python3-numpy" if python.bits == 32 else f"{python.pip} install numpy"


def is_jetson(machine: Machine) -> bool:
    """By its kernel: a carrier board may have any name."""
    return machine.kernel.endswith("-tegra") or "jetson" in machine.cpu.lower()
