"""The steps in order: lower as for TFLite, trim, ask the interpreter, hold against the target's memory, write C."""

import re
from pathlib import Path

import onnx

from edgekd.backends.compiled import Compiled
from edgekd.backends.room import require_room
from edgekd.backends.tflite.convert import Converted, convert
from edgekd.backends.tflite.ops import Op, maker, ops_of
from edgekd.backends.tflm.interpreter import MODEL, footprint
from edgekd.backends.tflm.resolver import resolver_methods
from edgekd.backends.tflm.sources import write_sources
from edgekd.backends.tflm.trim import trim
from edgekd.errors import BadInputError
from edgekd.onnx_graph import label
from edgekd.target import Target

MISSING_OP = re.compile(r"opcode '(\w+)'")
FAILED_NODE = re.compile(r"\(number (\d+)f?\)")


def build(model: onnx.ModelProto, target: Target, folder: Path) -> Compiled:
    """See `tflm.compile`."""
    converted = convert(model, target, "int8", fixed_batch=True)
    ops, content = ops_of(converted.content), trim(converted.content)
    _refuse_floats(model, ops, converted)
    try:
        memory = footprint(content, converted, target)
    except BadInputError as error:
        raise BadInputError(f"{_culprit(str(error), model, ops)}{error}") from error
    require_room(target, memory["arena_bytes"], memory["flash_bytes"])
    memory["macs"] = sum(op.macs for op in ops)
    (folder / MODEL).write_bytes(content)
    tensors = {"inputs": converted.inputs, "outputs": converted.outputs}
    sources = write_sources(folder, content, memory, resolver_methods(ops), tensors)
    return Compiled(MODEL, (MODEL, *sources), converted.inputs, converted.outputs, converted.notes, memory)


def _refuse_floats(model: onnx.ModelProto, ops: list[Op], converted: Converted) -> None:
    """Of two outputs that are the same tensor, one is dequantised: that alone is no computation in float."""
    outputs = {spec.name for spec in converted.outputs}
    floats = next((op for op in ops if op.floats and not (op.code == "DEQUANTIZE" and op.name in outputs)), None)
    if floats is not None:
        first, *others = converted.notes or (f"{_maker(model, floats)} computes in float",)
        more = f" (and {len(others)} more)" if others else ""
        raise BadInputError(f"a microcontroller's model is int8 throughout: {first}{more}")


def _culprit(refusal: str, model: onnx.ModelProto, ops: list[Op]) -> str:
    """Who made the op that a refusal of TFLite-Micro's is about."""
    missing, failed = MISSING_OP.search(refusal), FAILED_NODE.search(refusal)
    if missing:
        guilty = next((op for op in ops if op.code == missing[1]), None)
    else:
        guilty = ops[int(failed[1])] if failed else None
    return f"{_maker(model, guilty)}: " if guilty else ""


def _maker(model: onnx.ModelProto, op: Op) -> str:
    node = maker(model, op)
    return f"node {label(node)!r} ({node.op_type})" if node else f"op {op.code}"
