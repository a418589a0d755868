"""Where each operation of a model computes, and why: read from what the HTP's compiler tells of its own graphs."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import onnx
from pydantic import Field

from edgekd.backends.qnn.runtime import FLOATS, TRACE, WEIGHTED, qnn_graphs, qnn_operations
from edgekd.onnx_graph import QUANTIZERS, label
from edgekd.quantization.graph_ir import WEIGHTED as LAYERS
from edgekd.reading import read_json
from edgekd.schema import Count, Schema

Where = Literal["npu-integer", "npu-float16", "cpu"]
PLACEMENT = "placement.json"
OUTER = "QNN EP is configured to not take"  # quantisers at the borders: a choice, no shortcoming
ADDED = re.compile(r"(_token_\d+|_nhwc|/duplicated|/MatMulAddFusion)+$")  # by ONNX Runtime's passes to a node's name
IN_FLOAT = "the compiler's graph computes it in float16"
NOTHING = "the compiler has put nothing on the NPU"


class Placed(Schema):
    """One operation. `layer` says that it has weights or multiplies activations."""

    node: str
    op: str
    layer: bool
    where: Where
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.op} {self.node!r} {'on the CPU' if self.where == 'cpu' else 'in float16'}: {self.reason}"


class Placement(Schema):
    """A model's operations in its own order, quantisers left out; `islands` are the parts that the NPU takes whole."""

    chip: str
    htp_arch: str
    islands: Count
    operations: tuple[Placed, ...] = Field(min_length=1)

    @property
    def share(self) -> float:
        """Of all operations those on the NPU; a layer counts in integers only."""
        return 1 - len(self.faults) / len(self.operations)

    @property
    def faults(self) -> tuple[Placed, ...]:
        """What is on the CPU, and layers in float16."""
        return tuple(
            each for each in self.operations if each.where == "cpu" or (each.layer and each.where != "npu-integer")
        )

    @property
    def in_float(self) -> tuple[Placed, ...]:
        """What computes in float16."""
        return tuple(each for each in self.operations if each.where == "npu-float16")


def read_placement(model: onnx.ModelProto, folder: Path, chip: str, arch: str) -> Placement:
    """Read the trace and the graphs that a compilation of `model` has left in a folder.

    A quantiser is listed where it is left to the CPU; so is a float operation that comes from none of the model's.
    """
    trace = read_json(folder / TRACE) if (folder / TRACE).is_file() else {}
    islands, makers = len(list(qnn_graphs(folder))), _makers(trace)
    refused = dict(_refused(trace))
    kinds = {name: kind for name, kind, _ in qnn_operations(folder)}
    floats = {name for name, _, types in qnn_operations(folder) if types & FLOATS}
    operations = []
    for node in model.graph.node:
        name = label(node)
        made = makers.pop(name, set())
        where, reason = _where(made & floats, refused.get(name), islands)
        if node.op_type not in QUANTIZERS or where == "cpu":
            layer = node.op_type in LAYERS or any(kinds.get(each) in WEIGHTED for each in made)
            operations.append(Placed(node=name, op=node.op_type, layer=layer, where=where, reason=reason))
        floats -= made
    operations += [
        Placed(node=name, op=kinds[name], layer=kinds[name] in WEIGHTED, where="npu-float16", reason=IN_FLOAT)
        for name in sorted(floats)
    ]
    return Placement(chip=chip, htp_arch=arch, islands=islands, operations=tuple(operations))


def compiled_for(folder: Path) -> str:
    """The architecture that the compiler says it compiled for; empty where it knows none."""
    told = read_json(folder / TRACE).get("soc_traces", []) if (folder / TRACE).is_file() else []
    return str(told[0]["compilation_target"]["htp_arch"]).removeprefix("V") if told else ""


def _where(in_float: set[str], refusal: str | None, islands: int) -> tuple[Where, str | None]:
    """What is not refused is on the NPU, if anything is; the compiler merges some of it into other operations."""
    if refusal is not None or not islands:
        return "cpu", refusal or NOTHING
    return ("npu-float16", IN_FLOAT) if in_float else ("npu-integer", None)


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
