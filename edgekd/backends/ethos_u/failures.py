"""Which operator it is that Vela fails over: by its own words, or by the shortest beginning of the model that fails."""

import re
from collections.abc import Sequence

import onnx

from edgekd.backends.ethos_u.vela import Setting, VelaError, compiled_by_vela, vela_version
from edgekd.backends.tflite.flatbuffer import pack, unpack
from edgekd.backends.tflite.ops import Op, named_node, ops_of
from edgekd.errors import BadInputError

FAULT = re.compile(r"Error: \w+ (?:'(.*)' )?Does not have valid TFLite Semantics\.\n((?: - .*\n|   .*\n)+)")
PROBE_SECONDS = 60
LONGEST = 300  # characters of a reason


def refusal(model: onnx.ModelProto, content: bytes, setting: Setting, error: VelaError) -> BadInputError:
    """Return what to raise: the node, and why Vela fails over it, in its words."""
    ops, fault = ops_of(content), FAULT.search(error.said)
    op = next((op for op in ops if fault and op.name == fault[1]), None) or _first_to_fail(content, ops, setting)
    why = _in_a_line(fault[2]) if fault else error.reason
    return BadInputError(
        f"{named_node(model, op)} is not for {setting.accelerator}: {vela_version()} fails over its {op.code}: "
        f"{why[:LONGEST]}"
    )


def _in_a_line(told: str) -> str:
    """What is wrong, and which value is."""
    return "; ".join(filter(None, (line.strip(" -,") for line in told.splitlines())))


def _first_to_fail(content: bytes, ops: Sequence[Op], setting: Setting) -> Op:
    """Halve what lies between a beginning that compiles and one that does not: 8 compilations for 200 operators."""
    fine, failing = 0, len(ops)
    while failing - fine > 1:
        middle = (fine + failing) // 2
        try:
            compiled_by_vela(beginning(content, middle), setting, PROBE_SECONDS)
            fine = middle
        except VelaError:
            failing = middle
    return ops[failing - 1]


def beginning(content: bytes, count: int) -> bytes:
    """Return a model of the first operators of a file, whose outputs are what nothing among them reads."""
    model = unpack(content)
    (graph,) = model.subgraphs
    graph.operators = graph.operators[:count]
    read = {index for op in graph.operators for index in op.inputs}
    graph.outputs = [index for op in graph.operators for index in op.outputs if index not in read]
    graph.inputs = [index for index in graph.inputs if index in read]
    model.signatureDefs = None
    return pack(model)
