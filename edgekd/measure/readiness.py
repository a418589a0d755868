"""Whether a device can run a target's bundles, what it lacks, and whether a measurement on it would be fair."""

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NotRequired, TypedDict

from edgekd.devices import Device, open_device
from edgekd.measure.device_python import INVENTORY, Python, how_to_get, how_to_get_numpy, is_jetson, probes
from edgekd.measure.facts import SECTION, Machine, machine_facts, sections
from edgekd.measure.gpu import Gpu
from edgekd.measure.protocol import parse, runner_on
from edgekd.measure.provision import provision
from edgekd.measure.records import Version
from edgekd.measure.target_check import mismatches
from edgekd.measure.telemetry import Telemetry, watch
from edgekd.needs import Accelerator, ComponentRow, Needs
from edgekd.runtimes import backend_names, find_needs
from edgekd.target import Target, load_target

NO_PYTHON = "Python 3.8 or newer; name it by ?python=PATH, or do without: install edgekd-runner, or ?runner=FOLDER"
BUSY = 0.05  # of the time; an idle GPU does not compute
SCRIPT = f"""
echo; echo "{SECTION}inventory"; code=$1; nodes=$2; shift 2; "$0" -c "$code" "$@" 2>/dev/null
echo; echo "{SECTION}load"; cat /proc/loadavg 2>/dev/null
echo; echo "{SECTION}nodes"; for node in $nodes; do
if [ -r "$node" ] && [ -w "$node" ]; then echo "$node: open"; elif [ -e "$node" ]; then echo "$node: closed"; fi; done
true
"""
Components = list[ComponentRow]


class FactRow(TypedDict):
    """A fact of a device's state, and what to do about it, if anything."""

    what: str
    found: str
    advice: str


class Readiness(TypedDict):
    """What `doctor --device` says, as JSON; `python` is the one that was just given what it lacked."""

    device: str
    cpu: str
    ready: bool
    components: Components
    state: list[FactRow]
    prepare: list[str]
    python: NotRequired[str]


def examine_device(uri: str, target: str | None = None, lacking: bool = False) -> Readiness:
    """`examine` by names; BadInputError for an unknown one. What is `lacking` for the target is installed before."""
    wanted = load_target(target) if target else None
    with closing(open_device(uri)) as device:
        given = lacking and wanted and provision(device, [find_needs(wanted.backend, wanted.runtime)])
        found = examine(device, wanted)
        return {**found, "python": device.python} if given else found


def examine(device: Device, target: Target | None = None) -> Readiness:
    """What is there and what is missing; `ready` says whether bundles (of `target`, else of any) run there.

    Raises DeviceError when the device is lost.
    """
    machine, options = machine_facts(device), target.runtime if target else {}
    needs = {name: find_needs(name, options) for name in ([target.backend] if target else backend_names())}
    asked = [device.python, INVENTORY, _nodes(), *probes(needs.values())]
    said = sections(device.run(["sh", "-c", SCRIPT, *asked], timeout=120).stdout)
    python = Python.on(device, machine, said.get("inventory", ""))
    with watch(device) as watched:
        pass
    if device.runner:
        backends, components = _by_itself(device, target)
    else:
        backends, components = list(needs), _components(machine, python, needs)
    components += _accelerator(machine, target, said.get("nodes", "")) if target else []
    return {
        "device": device.uri,
        "cpu": machine.cpu,
        "ready": _ready(components, backends),
        "components": components,
        "state": _state(machine, watched.telemetry, said, target) + _doubts(machine, target),
        "prepare": list(target.prepare) if target else [],
    }


def _ready(components: Components, backends: Sequence[str]) -> bool:
    """All is there, and of several backends one at least; a venv is only a way to get the others."""
    missing = {row["component"] for row in components if row["found"] == "missing"} - {"venv"}
    return not missing - set(backends) and not set(backends) <= missing


def _nodes() -> str:
    """Patterns of the device nodes by which accelerators are reached, for a shell."""
    accelerators = [one for name in backend_names() for one in find_needs(name).accelerators]
    return " ".join(f"{one.node}*" for one in accelerators if one.node)


def _components(machine: Machine, python: Python, needs: Mapping[str, Needs]) -> Components:
    version = machine.python if python.new_enough else None
    rows = [
        _component("python", "the runner", version, NO_PYTHON),
        _component("numpy", "the runner", python.modules.get("numpy"), how_to_get_numpy(python)),
    ]
    for backend, wanted in needs.items():
        purpose = f"{backend} bundles" + (f", {wanted.build.offers}" if wanted.build else "")
        rows.append(_component(backend, purpose, wanted.found(python.modules), how_to_get(wanted, python, machine)))
    if python.managed and any(python.pip in row["get it"] for row in rows):
        advice = f"{python.path} -m venv {python.venv}, then name it: ?python={python.venv}/bin/python"
        rows.insert(1, _component("venv", "pip: this Python is the system's", None, advice))
    return rows


def _accelerator(machine: Machine, target: Target, nodes: str) -> Components:
    """What a target computes on besides the CPU."""
    needs = find_needs(target.backend)
    wanted = [one for one in needs.accelerators if one.wanted(target.runtime)]
    return [_component(one.name, needs.title, *_reached(one, machine, nodes)) for one in wanted]


def _reached(accelerator: Accelerator, machine: Machine, nodes: str) -> tuple[str | None, str]:
    """By what an accelerator is reached, if it is, and what to do if it is not."""
    if accelerator.node is None:
        return machine.gpu or ("of the Jetson" if is_jetson(machine) else None), accelerator.get
    there = [line for line in nodes.splitlines() if line.startswith(accelerator.node)]
    usable = next((line.partition(":")[0] for line in there if line.endswith("open")), None)
    return usable, accelerator.closed if there else accelerator.get


def _by_itself(device: Device, target: Target | None) -> tuple[list[str], Components]:
    """What a device's own runner has to offer, if its libraries load there: backends, and a row for each."""
    own = [name for name in backend_names() if find_needs(name).without_python]
    with runner_on(device, own[0]) as runner:
        answer = parse(device.run([*runner, "--version"], timeout=60))
    told = answer.every("version", Version) if answer.end.ok else ()
    offers = {name: one for one in told for name in ([one.backend] if one.backend else own)}
    rows = [
        _component(name, f"{name} bundles", one.found if one else None, one.get if one else answer.end.error or "")
        for name, one in (offers or dict.fromkeys(own)).items()
    ]
    if target and target.backend not in (offers or own):
        advice = "this device cannot run it" if any(one.backend for one in told) else "it takes run.py: drop ?runner="
        rows.append(_component(target.backend, f"{target.backend} bundles", None, advice))
    return list(offers or own), rows


def _component(name: str, purpose: str, found: str | None, advice: str) -> ComponentRow:
    return {"component": name, "for": purpose, "found": found or "missing", "get it": "" if found else advice}


def _state(machine: Machine, telemetry: Telemetry | None, said: dict[str, str], target: Target | None) -> list[FactRow]:
    governor, load = machine.governor, re.match(r"\d+(\.\d+)?(?=\s|$)", said.get("load", ""))
    busy = load is not None and float(load[0]) > machine.cores / 2
    rows = [
        _fact("governor", governor, "performance keeps the clock up" if governor not in (None, "performance") else ""),
        _fact("load", load[0] if load else None, "something else is running" if busy else ""),
    ]
    return rows + (_seen(telemetry, target) if telemetry else [])


def _seen(telemetry: Telemetry, target: Target | None) -> list[FactRow]:
    """What only some devices tell of themselves."""
    mode, heat, rows = telemetry.power_mode, telemetry.temperature_before, []
    if mode:
        best = next((name for name in target.facts.power_modes if name.startswith("MAXN")), mode) if target else mode
        rows.append(_fact("power mode", mode, f"{best} is faster: sudo nvpmodel -m 0" if mode != best else ""))
    if telemetry.thermal_status is not None:
        advice = "it holds back already: let it cool" if telemetry.thermal_status else ""
        rows.append(_fact("thermal status", str(telemetry.thermal_status), advice))
    if heat is not None:
        advice = "it holds back already: heat, or too weak a supply" if telemetry.capped else ""
        rows.append(_fact("temperature", f"{heat:.0f} °C", advice))
    if telemetry.charging is not None:
        found = "charging" if telemetry.charging else "discharging"
        rows.append(_fact("battery", found, "no power is measured while it is charged" if telemetry.charging else ""))
    if telemetry.gpu is not None:
        rows.append(_gpu(telemetry.gpu))
    return rows


def _gpu(gpu: Gpu) -> FactRow:
    clocks = " of ".join(f"{clock:.0f}" for clock in (gpu.frequency_mhz, gpu.max_frequency_mhz) if clock is not None)
    heat = [] if gpu.temperature_highest is None else [f"{gpu.temperature_highest:.0f} °C"]
    held = f"it holds back already: {', '.join(gpu.capped)}" if gpu.capped else ""
    busy = "something else computes on it" if (gpu.busy or 0) > BUSY else ""
    return _fact("GPU", ", ".join([f"{clocks} MHz", *heat]), "; ".join(filter(None, (held, busy))))


def _doubts(machine: Machine, target: Target | None) -> list[FactRow]:
    return [_fact(*doubt) for doubt in mismatches(machine, target)] if target else []


def _fact(what: str, found: str | None, advice: str) -> FactRow:
    return {"what": what, "found": found or "unknown", "advice": advice}
