"""The steps in order: lower as for TFLite, let Vela compile, hold what it left to the CPU against the target."""

import re
from collections.abc import Sequence
from pathlib import Path

import onnx

from edgekd.backends.compiled import Compiled
from edgekd.backends.ethos_u.accelerators import SYSTEMS, systems_of
from edgekd.backends.ethos_u.failures import refusal
from edgekd.backends.ethos_u.placed import TYPES_ONLY, placed
from edgekd.backends.ethos_u.vela import Setting, VelaError, compiled_by_vela, vela_version
from edgekd.backends.placement import PLACEMENT, Placement
from edgekd.backends.room import require_room
from edgekd.backends.tflite.convert import Converted, convert
from edgekd.errors import BadInputError
from edgekd.files import write_json
from edgekd.reading import reading
from edgekd.target import Target

MODEL, COMPILED = "model.tflite", "model_vela.tflite"
ISLAND = re.compile(r"float island: (node .* \(\w+\)): (.*)")


def build(model: onnx.ModelProto, target: Target, folder: Path) -> Compiled:
    """See `ethos_u.compile`."""
    setting = setting_of(target)
    converted = convert(model, target, "int8", fixed_batch=True)
    _require_npu(_in_float(converted, setting), target)
    try:
        answer = compiled_by_vela(converted.content, setting)
    except VelaError as error:
        raise refusal(model, converted.content, setting, error) from error
    with reading(f"the reports of {vela_version()}", "as known"):
        placement = placed(model, converted, answer, setting)
    notes = _left_to_the_cpu(placement)
    _require_npu(notes, target)
    footprint = {
        "sram_bytes": placement.sram_bytes,
        "flash_bytes": len(answer.content),
        "macs": placement.macs,
        "npu_cycles_estimate": placement.cycles,
        "cpu_ops": len(placement.on_cpu),
    }
    require_room(target, footprint["sram_bytes"], footprint["flash_bytes"], "SRAM")
    (folder / MODEL).write_bytes(converted.content)
    (folder / COMPILED).write_bytes(answer.content)
    write_json(folder / PLACEMENT, placement.model_dump(mode="json"))
    return Compiled(MODEL, (MODEL, COMPILED, PLACEMENT), converted.inputs, converted.outputs, notes, footprint)


def setting_of(target: Target) -> Setting:
    """What Vela compiles for; BadInputError where a target's parts do not go together."""
    accelerator, system, mode = (
        str(target.compiler_option(key)) for key in ("accelerator", "system_config", "memory_mode")
    )
    for key, value, fitting in (
        ("system_config", system, systems_of(accelerator)),
        ("memory_mode", mode, SYSTEMS[system]),
    ):
        if value not in fitting:
            raise BadInputError(
                f"target {target.name}: {key} {value} does not go with {accelerator}: choose {' or '.join(fitting)}"
            )
    return Setting(accelerator, system, mode)


def _require_npu(left: Sequence[str], target: Target) -> None:
    """Raise BadInputError for what is left to a CPU that the target does not let have it."""
    if left and not target.compiler_option("allow_cpu"):
        more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
        raise BadInputError(f"{left[0]}{more}; compiler.allow_cpu = true in the target file leaves it to the CPU")


def _in_float(converted: Converted, setting: Setting) -> list[str]:
    """What no int8 kernel computes, which Vela need not be asked about."""
    islands = filter(None, map(ISLAND.fullmatch, converted.notes))
    return [f"{island[1]} is not for {setting.accelerator}: {island[2]}" for island in islands]


def _left_to_the_cpu(placement: Placement) -> tuple[str, ...]:
    """Nodes that the NPU does not take, each once, with the reason; what only changes types stands beside others."""
    told = [op for op in placement.on_cpu if op.reason]
    computing = [op for op in told if op.op not in TYPES_ONLY]
    lines = (f"{op.node} is not for {placement.accelerator}: {op.reason}" for op in computing or told)
    return tuple(dict.fromkeys(lines))
