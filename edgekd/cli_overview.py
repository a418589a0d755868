"""`recipes`, `targets`, `methods`, `tasks`, `devices`, `doctor`: what there is, and what is missing."""

from typing import Annotated

import typer

from edgekd.cli_base import Json, Provision, command
from edgekd.errors import BadInputError
from edgekd.reporting import last_line
from edgekd.terminal import note, show


@command("Look up", "edgekd recipes")
def recipes(as_json: Json = False) -> None:
    """List the built-in recipes."""
    from edgekd.recipe import listed

    show(listed(), as_json, last=last_line.of_recipes)


@command("Look up", "edgekd targets", "edgekd targets jetson-orin-nano")
def targets(
    name: Annotated[
        str | None, typer.Argument(help="Show one target in full: facts, how to prepare it, sources.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the targets (a device and a runtime each)."""
    from edgekd.target import described, listed

    if name:
        show(described(name), as_json)
    else:
        show(listed(), as_json, last=last_line.of_targets)


@command("Look up", "edgekd methods", "edgekd methods --json")
def methods(as_json: Json = False) -> None:
    """List the distillation methods, with their parameters' defaults."""
    from edgekd.pipeline.methods import method_rows

    show(method_rows(), as_json, last=last_line.of_methods)


@command("Look up", "edgekd tasks", "edgekd tasks --json")
def tasks(as_json: Json = False) -> None:
    """List what can be taught, by which metrics it is scored, and the options' defaults."""
    from edgekd.tasks import listed

    show(listed(), as_json, last=last_line.of_tasks)


@command("Look up", "edgekd devices")
def devices(as_json: Json = False) -> None:
    """List what `--device` can name here: this machine, adb devices, hosts of your ssh_config."""
    from edgekd.devices import discover

    rows = [{"device": found.uri, "state": found.state, "what": found.what} for found in discover()]
    show(rows, as_json, last=last_line.of_devices)


@command("Look up", "edgekd doctor", "edgekd doctor --device ssh://pi.local --target raspberry-pi-5")
def doctor(
    device: Annotated[
        str | None, typer.Option("--device", help="Examine this device instead of this installation.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The target that the device is for: adds its runtime and how to prepare it.")
    ] = None,
    provision: Provision = False,
    as_json: Json = False,
) -> None:
    """Show what is installed and how to get what is missing; exit 1 if a device is not ready."""
    from edgekd.reporting.device import doctor_view

    if provision and (device is None or target is None):
        raise BadInputError("--provision needs to know what is to be installed where: give --device and --target")
    if device is None and target is None:
        from edgekd.doctor import diagnose

        show(diagnose(), as_json, doctor_view, last_line.of_doctor)
        return
    from edgekd.measure.readiness import examine_device

    found = examine_device(device or "local:", target, provision)
    show(found, as_json, doctor_view, last_line.of_doctor)
    if "python" in found:
        note(f"next: edgekd verify BUNDLE --device '{device}?python={found['python']}'")
    if not found["ready"]:
        raise typer.Exit(1)
