"""Where each operation of a model computes, and why: read from what the HTP's compiler tells of its own graphs."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import NodeProto

from edgekd.backends.placement import PlacedOp
from edgekd.backends.qnn.runtime import FLOATS, TRACE, WEIGHTED, qnn_graphs, qnn_operations
from edgekd.onnx_graph import QUANTIZERS, label
from edgekd.quantization.graph_ir import WEIGHTED as LAYERS
from edgekd.reading import read_json

OUTER = "QNN EP is configured to not take"  # quantisers at the borders: a choice, no shortcoming
ADDED = re.compile(r"(_token_\d+|_nhwc|/duplicated|/MatMulAddFusion)+$")  # by ONNX Runtime's passes to a node's name
IN_FLOAT = "its compiler takes it for float16"
NOTHING = "the compiler has put nothing on the NPU"


@dataclass(frozen=True)
class Places:
    """A model's operations in its own order, quantisers left out; `islands` are the parts that the NPU takes whole."""

    ops: tuple[PlacedOp, ...]
    islands: int

    @property
    def share(self) -> float:
        """Of all operations those on the NPU; a layer counts in integers only."""
        return (len(self.ops) - len(self.faults)) / len(self.ops)

    @property
    def faults(self) -> tuple[PlacedOp, ...]:
        """What is on the CPU, and layers in float16."""
        return tuple(op for op in self.ops if op.unit == "CPU" or (_in_float(op) and op.op in LAYERS | WEIGHTED))

    @property
    def in_float(self) -> tuple[PlacedOp, ...]:
        """What computes in float16."""
        return tuple(filter(_in_float, self.ops))


def read_places(model: onnx.ModelProto, folder: Path) -> Places:
    """Read the trace and the graphs that a compilation of `model` has left in a folder.

    A quantiser is listed where it is left to the CPU; so is a float operation that comes from none of the model's.
    """
    trace = read_json(folder / TRACE) if (folder / TRACE).is_file() else {}
    islands, makers, refused = len(list(qnn_graphs(folder))), _makers(trace), dict(_refused(trace))
    floats = {name: kind for name, kind, types in qnn_operations(folder) if types & FLOATS}
    ops = []
    for node in model.graph.node:
        made = makers.pop(label(node), set())
        reason = refused.get(label(node)) or (None if islands else NOTHING)
        if node.op_type not in QUANTIZERS or reason is not None:
            ops.append(_placed(node, reason, bool(made & floats.keys())))
        for name in made & floats.keys():
            del floats[name]
    alone = [NodeProto(name=name, op_type=kind) for name, kind in sorted(floats.items())]
    return Places((*ops, *(_placed(node, None, in_float=True) for node in alone)), islands)


def told(op: PlacedOp) -> str:
    """An operation that is not as it should be, and why."""
    return f"{op.op} {op.node!r} {'on the CPU' if op.unit == 'CPU' else 'in float16'}: {op.reason}"


def _placed(node: NodeProto, refusal: str | None, in_float: bool) -> PlacedOp:
    """What is not refused is on the NPU; the compiler merges some of it into other operations."""
    name = label(node)
    if refusal is not None:
        return PlacedOp(layer=name, node=name, op=node.op_type, unit="CPU", reason=refusal)
    if in_float:
        return PlacedOp(layer=name, node=name, op=node.op_type, unit="NPU", precision="float16", reason=IN_FLOAT)
    return PlacedOp(layer=name, node=name, op=node.op_type, unit="NPU", precision="integer")


def _in_float(op: PlacedOp) -> bool:
    return op.precision == "float16"


def compiled_for(folder: Path) -> str:
    """The architecture that the compiler says it compiled for; empty where it knows none."""
    told = read_json(folder / TRACE).get("soc_traces", []) if (folder / TRACE).is_file() else []
    return str(told[0]["compilation_target"]["htp_arch"]).removeprefix("V") if told else ""


def _refused(trace: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for node in trace.get("unsupported_nodes", []):
        if not node["reason"].startswith(OUTER):
            yield _bare(node["node_name"]), node["reason"]


def _makers(trace: Mapping[str, Any]) -> dict[str, set[str]]:
    """The compiler's operations by the ONNX nodes that they come from."""
    found: dict[str, set[str]] = {}
    for graph in trace.get("subgraph_traces", []):
        for mapping in graph["op_mappings"]:
            for source in mapping["sources"]:
                if source["type"] == "OP":
                    found.setdefault(_bare(source["name"]), set()).add(mapping["dst_name"])
    return found


def _bare(name: str) -> str:
    return ADDED.sub("", name)
