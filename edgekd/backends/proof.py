"""Parity of a bundle, run by whoever can run bundles; and where, inside the graph, a failed one first goes wrong."""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from edgekd.backends import find_backend
from edgekd.backends.assemble import write_bundle
from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.backends.parity import ROUNDING_STEPS, Parity, compare
from edgekd.backends.reference import Reference
from edgekd.bundle import load_bundle
from edgekd.onnx_graph import Graph, label
from edgekd.target import Target

Array = NDArray[Any]
Predict = Callable[[Path, dict[str, Array], int], dict[str, Array]]
"""A bundle's folder, inputs in its own types, a batch size; gives outputs by name. The runner is behind it."""

WATCHED = ".watched"


@dataclass(frozen=True)
class Divergence:
    """The first tensor, in the order of the graph, that leaves the tolerance; `steps` is its 99.9th percentile.

    Not the largest: one step more or less, which rounding explains, grows by a few on its way through a layer.
    """

    tensor: str
    node: str
    steps: float

    def __str__(self) -> str:
        return f"first diverging tensor: {self.tensor}, made by {self.node}, off by {self.steps:.1f} steps"


def prove(
    bundle: Path,
    inputs: Mapping[str, Array],
    reference: Mapping[str, Array],
    batches: Iterable[int],
    predict: Predict,
    unquantized: Mapping[str, Array] | None = None,
) -> list[Parity]:
    """A row per output and batch size. `inputs` are float NCHW, `unquantized` the float model's outputs (int8 only)."""
    manifest = load_bundle(bundle)
    stored = {spec.name: to_bundle(spec, inputs[spec.name]) for spec in manifest.inputs}
    rows = []
    for batch in dict.fromkeys(batches):
        outputs = predict(bundle, stored, batch)
        rows += [
            compare(
                spec.name,
                from_bundle(spec, outputs[spec.name]),
                reference[spec.name],
                manifest.tolerance,
                batch=batch,
                step=spec.step,
                unquantized=unquantized[spec.name] if unquantized else None,
            )
            for spec in manifest.outputs
        ]
    return rows


def first_divergence(
    model: onnx.ModelProto,
    target: Target,
    inputs: Mapping[str, Array],
    predict: Predict,
    deployed: onnx.ModelProto | None = None,
) -> Divergence | None:
    """Compile a QDQ graph once more with every quantised tensor as an output and compare them in order.

    `deployed` is the graph that was compiled, where it is not the reference's own. None: no watched tensor diverges
    (a graph without quantisers has none, and watching a tensor may undo the fusion that was at fault). Raises what
    compiling and running raise.
    """
    watched, makers = watch(model)
    if not makers:
        return None
    truth = Reference(watched).run(dict(inputs))
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
        bundle = Path(scratch) / "watched"
        graph = watch(deployed)[0] if deployed else watched
        write_bundle(graph, target, bundle, "int8", name="watched", inputs=inputs, outputs=truth)
        rows = {row.output: row for row in prove(bundle, inputs, truth, (target.batch,), predict)}
    allowed = min(value for kind, value in find_backend(target.backend).TOLERANCE.items() if kind.endswith("_steps"))
    for tensor, maker in makers.items():
        row = rows[tensor + WATCHED]
        if row.p999 is None or row.p999 > allowed + ROUNDING_STEPS:
            return Divergence(tensor, maker, row.p999 or float("inf"))
    return None


def watch(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """A copy with each quantised activation dequantised into an output of its own; and who makes each, in order.

    Each gets a DequantizeLinear with constants of its own: a shared one would keep a runtime from fusing.
    """
    graph = Graph(onnx.shape_inference.infer_shapes(model))
    makers: dict[str, str] = {}
    for node in graph.nodes:
        maker = graph.producer(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if maker is not None and _leaves(graph, node.input[0]) and node.input[0] not in makers:
            makers[node.input[0]] = f"{maker.op_type} {label(maker)}"
            _expose(graph, node)
    return graph.model(), makers


def _leaves(graph: Graph, edge: str) -> bool:
    """Whether a bundle can hold a tensor: its batch comes first, its other sizes are known."""
    return edge in graph.types and bool(graph.shapes.get(edge)) and None not in graph.shapes[edge][1:]


def _expose(graph: Graph, quantize: onnx.NodeProto) -> None:
    name = quantize.input[0] + WATCHED
    parameters = [
        graph.add_constant(f"{name}.{index}", graph.constants[old]) for index, old in enumerate(quantize.input[1:])
    ]
    graph.add("DequantizeLinear", [quantize.output[0], *parameters], name)
    graph.add_output(name, like=quantize.input[0])
