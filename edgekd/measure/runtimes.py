"""What a device's Python has of what bundles need, and the command that gets the rest there."""

import json
from dataclasses import dataclass, field

from edgekd.measure.facts import Machine

OLDEST = (3, 8)
RUNTIMES = {  # backend → (modules, the first that is there will do; how to get one)
    "tflite": (("ai_edge_litert", "tflite_runtime"), "{pip} install ai-edge-litert"),
    "onnxruntime": (("onnxruntime",), "{pip} install onnxruntime"),
    "openvino": (("openvino",), "{pip} install openvino"),
    "tensorrt": (("tensorrt",), "it comes with JetPack; elsewhere {pip} install tensorrt"),
    "tflm": (("tflite_micro",), "{pip} install --pre tflite-micro (x86-64 Linux)"),
}
MODULES = ("numpy", *(module for modules, _ in RUNTIMES.values() for module in modules))
LITERT_FROM, TFLITE_RUNTIME_UNTIL = (3, 9), (3, 11)  # CPythons that there are wheels for
INVENTORY = """
import importlib.metadata as m, importlib.util as u, json, os, sys, sysconfig
found = {}
for name in sys.argv[1:]:
    if u.find_spec(name):
        try: found[name] = m.version(name.replace("_", "-"))
        except m.PackageNotFoundError: found[name] = "found"
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
        return cls(path, version, **json.loads(inventory or "{}"))

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

    def found(self, backend: str) -> str | None:
        """The runtime that runs a backend's bundles, with its version."""
        there = (module for module in RUNTIMES[backend][0] if module in self.modules)
        return next((f"{module} {self.modules[module]}" for module in there), None)


def how_to_get(backend: str, python: Python, machine: Machine) -> str:
    """The command for this device, or why there is none."""
    small = python.bits == 32
    if backend == "tflite" and (small or python.version < LITERT_FROM):
        return _tflite_runtime(python)
    if backend in ("onnxruntime", "openvino") and small:
        return "no wheel for a 32-bit Python: take a 64-bit system, or a target with TFLite"
    if backend == "tensorrt" and is_jetson(machine):
        return "sudo apt-get install python3-libnvinfer (of JetPack; for the Python of the system)"
    return RUNTIMES[backend][1].format(pip=python.pip)


def how_to_get_numpy(python: Python) -> str:
    """PyPI has no wheel of it for a 32-bit Python."""
    return "sudo apt-get install python3-numpy" if python.bits == 32 else f"{python.pip} install numpy"


def is_jetson(machine: Machine) -> bool:
    """By its kernel: a carrier board may have any name."""
    return machine.kernel.endswith("-tegra") or "jetson" in machine.cpu.lower()


def _tflite_runtime(python: Python) -> str:
    if python.version > TFLITE_RUNTIME_UNTIL:
        here = ".".join(map(str, python.version))
        return f"no wheel for a 32-bit Python {here}: take one from 3.8 to 3.11 (?python=), or none (?runner=)"
    return f"{python.pip} install tflite-runtime 'numpy<2'"
