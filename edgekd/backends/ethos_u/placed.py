"""Vela's figures, by the nodes of the model that was compiled."""

import hashlib
from collections.abc import Collection, Iterable, Mapping

import onnx

from edgekd.backends.ethos_u.vela import Answer, Row, Setting, vela_version
from edgekd.backends.placement import PlacedOp, Placement
from edgekd.backends.tflite.convert import Converted
from edgekd.backends.tflite.ops import Op, maker, named_node, ops_of
from edgekd.bundle import File
from edgekd.errors import BadInputError
from edgekd.onnx_graph import label
from edgekd.runner.runtime import layer_of

KIB = 1024
NPU = "CUSTOM"  # an op that stands for all that the NPU does in one go
TYPES_ONLY = ("QUANTIZE", "DEQUANTIZE")


def placed(model: onnx.ModelProto, converted: Converted, answer: Answer, setting: Setting) -> Placement:
    """Where each operator of a converted model went; BadInputError where Vela's reports and its file differ on that."""
    ops = ops_of(converted.content)
    names = {op.name for op in ops}
    compiled = ops_of(answer.content)
    left = {op.name for op in compiled if op.code != NPU}
    figures = _by_tensor(answer.rows, names)
    told = {name for name, rows in figures.items() if any(row["Target"] == "CPU" for row in rows)}
    if told != left:
        odd = ", ".join(sorted(told ^ left))
        raise BadInputError(f"they tell of other operators on the CPU than the file has: {odd}")
    reasons = {_original(name, names): reason for name, reason in answer.reasons.items()}
    seen = [
        _on_cpu(model, op, converted, reasons) if op.name in left else _on_npu(model, op, figures[op.name])
        for op in ops
        if op.name in figures
    ]
    total = answer.summary
    return Placement(
        source=f"{vela_version()}'s estimate",
        accelerator=setting.accelerator,
        options={"system_config": setting.system_config, "memory_mode": setting.memory_mode},
        model=_identity(converted.content),
        compiled=_identity(answer.content),
        islands=sum(op.code == NPU for op in compiled),
        clock_hz=float(total["core_clock"]),
        cycles=int(total["cycles_total"]),
        macs=int(total["nn_macs"]),
        sram_bytes=_bytes(total, "sram"),
        dram_bytes=_bytes(total, "dram"),
        flash_bytes=_bytes(total, "on_chip_flash") + _bytes(total, "off_chip_flash"),
        ops=tuple(seen),
    )


def _identity(content: bytes) -> File:
    return File(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _bytes(total: Row, memory: str) -> int:
    return round(float(total[f"{memory}_memory_used"]) * KIB)


def _by_tensor(rows: Iterable[Row], known: Collection[str]) -> dict[str, list[Row]]:
    """Rows by the tensor of the original model."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(_original(row["Name"], known), []).append(row)
    return found


def _original(name: str, known: Collection[str]) -> str:
    """What an operator was split into has its name, lengthened."""
    while name not in known and "_" in name:
        name = name.rpartition("_")[0]
    return name


def _on_npu(model: onnx.ModelProto, op: Op, rows: list[Row]) -> PlacedOp:
    def cycles(*columns: str) -> int:
        return sum(int(row[column]) for row in rows for column in columns)

    return PlacedOp(
        layer=_layer(model, op),
        node=named_node(model, op),
        op=op.code,
        unit="NPU",
        cycles=cycles("Op Cycles"),
        macs=cycles("MAC Count"),
        sram_bytes=max(int(row["Staging Usage"]) for row in rows),
        sram_cycles=cycles("SRAM AC"),
        dram_cycles=cycles("DRAM AC"),
        flash_cycles=cycles("OnFlash AC", "OffFlash AC"),
    )


def _on_cpu(model: onnx.ModelProto, op: Op, converted: Converted, reasons: Mapping[str, str]) -> PlacedOp:
    """With the reason; the outer quantisers have none: they only change the type of what the model is given."""
    borders = {spec.name for spec in (*converted.inputs, *converted.outputs)}
    node = named_node(model, op)
    island = f"float island: {node}: "
    floats = (note.removeprefix(island) for note in converted.notes if note.startswith(island))
    reason: str | None = next(floats, None) or reasons.get(op.name) or "Vela does not say why"
    if op.code in TYPES_ONLY:
        outer = {op.name, op.inputs[0].name.decode()} & borders
        reason = None if outer else "it stands beside what is computed in float"
    return PlacedOp(layer=_layer(model, op), node=node, op=op.code, unit="CPU", reason=reason)


def _layer(model: onnx.ModelProto, op: Op) -> str:
    """By its weights, as layers are called elsewhere, or else by its node."""
    weights = (layer_of(tensor.name.decode()) for tensor in op.inputs)
    node = maker(model, op)
    return next(filter(None, weights), None) or (label(node) if node else op.name)
