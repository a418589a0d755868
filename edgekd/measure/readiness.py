"""Whether a device can run a target's bundles, what it lacks, and whether a measurement on it would be fair."""

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from edgekd.devices import Device, open_device
from edgekd.measure.facts import SECTION, Machine, machine_facts, sections
from edgekd.measure.protocol import parse, runner_argv
from edgekd.measure.records import Version
from edgekd.measure.telemetry import Telemetry, watch
from edgekd.target import Target, load_target

OLDEST = (3, 8)
NO_PYTHON = "Python 3.8 or newer; name it by ?python=PATH, or do without by ?runner=FOLDER"
RUNTIMES = {  # backend → (modules, the first that is there will do; how to get one)
    "tflite": (("ai_edge_litert", "tflite_runtime"), "{pip} install ai-edge-litert"),
    "onnxruntime": (("onnxruntime",), "{pip} install onnxruntime"),
    "openvino": (("openvino",), "{pip} install openvino"),
    "tensorrt": (("tensorrt",), "it comes with JetPack; elsewhere {pip} install tensorrt"),
    "tflm": (("tflite_micro",), "{pip} install --pre tflite-micro (x86-64 Linux)"),
}
INVENTORY = """
import importlib.metadata as m, importlib.util as u, json, sys
found = {}
for name in sys.argv[1:]:
    if u.find_spec(name):
        try: found[name] = m.version(name.replace("_", "-"))
        except m.PackageNotFoundError: found[name] = "found"
print(json.dumps(found))
"""
SCRIPT = f"""
echo; echo "{SECTION}inventory"; code=$1; shift; "$0" -c "$code" "$@" 2>/dev/null
echo; echo "{SECTION}power mode"; nvpmodel -q 2>/dev/null | head -n 1
echo; echo "{SECTION}thermal status"; dumpsys thermalservice 2>/dev/null | grep -m 1 "Thermal Status"
echo; echo "{SECTION}load"; cat /proc/loadavg 2>/dev/null
true
"""
Rows = list[dict[str, str]]


def examine_device(uri: str, target: str | None = None) -> dict[str, Any]:
    """`examine` by names; BadInputError for an unknown one."""
    wanted = load_target(target) if target else None
    with closing(open_device(uri)) as device:
        return examine(device, wanted)


def examine(device: Device, target: Target | None = None) -> dict[str, Any]:
    """What is there and what is missing; `ready` says whether bundles (of `target`, else of any) run there.

    Raises DeviceError when the device is lost.
    """
    machine = machine_facts(device)
    modules = ["numpy", *(module for names, _ in RUNTIMES.values() for module in names)]
    said = sections(device.run(["sh", "-c", SCRIPT, device.python, INVENTORY, *modules], timeout=120).stdout)
    found: dict[str, str] = json.loads(said["inventory"] or "{}")
    with watch(device) as watched:
        pass
    components = _by_itself(device, target) if device.runner else _components(device, machine, found, target)
    ready = all(row["found"] != "missing" for row in components) if device.runner else _ready(machine, found, target)
    return {
        "device": device.uri,
        "cpu": machine.cpu,
        "ready": ready,
        "components": components,
        "state": _state(machine, watched.telemetry, said) + _features(machine, target),
        "prepare": list(target.prepare) if target else [],
    }


def _ready(machine: Machine, found: dict[str, str], target: Target | None) -> bool:
    wanted = [target.backend] if target else list(RUNTIMES)
    runtime = any(module in found for backend in wanted for module in RUNTIMES[backend][0])
    return _new_enough(machine.python) and "numpy" in found and runtime


def _new_enough(version: str | None) -> bool:
    return version is not None and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST


def _components(device: Device, machine: Machine, found: dict[str, str], target: Target | None) -> Rows:
    pip = f"{device.python} -m pip"
    python = machine.python if _new_enough(machine.python) else None
    rows = [
        _component("python", "the runner", python, NO_PYTHON),
        _component("numpy", "the runner", found.get("numpy"), f"{pip} install numpy"),
    ]
    for backend in [target.backend] if target else RUNTIMES:
        modules, advice = RUNTIMES[backend]
        there = next((f"{module} {found[module]}" for module in modules if module in found), None)
        rows.append(_component(backend, f"{backend} bundles", there, advice.format(pip=pip)))
    return rows


def _by_itself(device: Device, target: Target | None) -> Rows:
    """What a runner without Python has to offer: TensorFlow Lite, if its library loads there."""
    answer = parse(device.run([*runner_argv(device), "--version"], timeout=60))
    there = answer.every("version", Version)[0] if answer.end.ok else None
    found = f"{there.runtime} {there.runtime_version}" if there else None
    rows = [_component("tflite", "tflite bundles", found, answer.end.error or "")]
    if target and target.backend != "tflite":
        rows.append(_component(target.backend, f"{target.backend} bundles", None, "it takes run.py: drop ?runner="))
    return rows


def _component(name: str, purpose: str, found: str | None, advice: str) -> dict[str, str]:
    return {"component": name, "for": purpose, "found": found or "missing", "get it": "" if found else advice}


def _state(machine: Machine, telemetry: Telemetry | None, said: dict[str, str]) -> Rows:
    governor, load = machine.governor, said.get("load", "").split()
    busy = bool(load) and float(load[0]) > machine.cores / 2
    rows = [
        _fact("governor", governor, "performance keeps the clock up" if governor not in (None, "performance") else ""),
        _fact("load", load[0] if load else None, "something else is running" if busy else ""),
        *(
            _fact(name, said[name].partition(":")[2].strip(), "")
            for name in ("power mode", "thermal status")
            if said[name]
        ),
    ]
    if telemetry is not None and telemetry.temperature_before is not None:
        capped = "it holds back already: heat, or too weak a supply" if telemetry.capped else ""
        rows.append(_fact("temperature", f"{telemetry.temperature_before:.0f} °C", capped))
    return rows


def _features(machine: Machine, target: Target | None) -> Rows:
    lacking: Sequence[str] = target.facts.lacking(machine.flags) if target else ()
    return [_fact("CPU", f"lacks {feature}", f"is it a device for {target and target.name}?") for feature in lacking]


def _fact(what: str, found: str | None, advice: str) -> dict[str, str]:
    return {"what": what, "found": found or "unknown", "advice": advice}
