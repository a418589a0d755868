"""Each layer alone: what a runtime makes of the very inputs that its own earlier layers gave it, against the reference.

What a network computes is compiled with every quantised tensor for an output, and run. The reference then starts anew
at each of those tensors, from the runtime's values. So a layer is judged without what the ones before it have added up
to: the distance is one rounding where the layer is right, however deep it lies, and the first one further off is wrong.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekd.backends.assemble import write_bundle
from edgekd.backends.conversion import from_bundle, stored_inputs
from edgekd.backends.layer_proof import Layer, LayerProof
from edgekd.backends.reference import Reference, output_steps, reference_graph
from edgekd.bundle import Manifest
from edgekd.distance import steps_apart
from edgekd.onnx_graph import Graph, at_batch, inferred, label, shapes_of
from edgekd.runner.judge import STEP_SLACK, float_step
from edgekd.target import Limits, Target

Array = NDArray[Any]
Arrays = dict[str, Array]
Predict = Callable[[Path, Arrays, int], Arrays]
"""A bundle's folder, inputs in its own types, a batch size; gives outputs by name. The runner is behind it."""
ALLOWED_STEPS = 1.0
SAMPLES = 32
MOST_BYTES, MOST_AT_ONCE = 1 << 28, 1 << 27  # of all tensors, and of those that are held together
WATCHED, GIVEN = ".watched", ".given"
FARTHEST = 1e9  # steps


def prove_layers(
    model: onnx.ModelProto,
    target: Target,
    inputs: Mapping[str, Array],
    predict: Predict,
    deployed: onnx.ModelProto | None = None,
) -> LayerProof | None:
    """Judge every layer of a QDQ graph; None for one without quantised activations.

    `deployed` is the graph that was compiled, where it is not the reference's own. Raises what compiling and running
    raise.
    """
    shown, makers = expose_activations(model)
    if not makers:
        return None
    sample = _bytes_per_sample(shown)
    few = _first(inputs, max(2, min(SAMPLES, MOST_BYTES // sample)))
    held = partial(reference_graph, backend=target.backend)
    truth, first = Reference(held(model)).run(few, batch=target.batch), _first(few, max(1, MOST_AT_ONCE // sample))
    watching = expose_activations(deployed)[0] if deployed else shown
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
        plain = _Built.of(deployed or model, target, Path(scratch) / "plain", few, truth, predict).run(few)
        build = _Built.of(
            watching, target, Path(scratch) / "shown", first, Reference(held(shown)).run(first, target.batch), predict
        )
        cut = cut_at(shown, makers)
        judge = _Judge(Reference(held(cut)), target.batch, makers, truth, output_steps(shown))
        same = True
        for start in range(0, _count(few), _count(first)):
            part = {name: array[start : start + _count(first)] for name, array in few.items()}
            seen = build.run(part)
            same &= all(
                np.array_equal(array[start : start + _count(part)], seen[name]) for name, array in plain.items()
            )
            judge.add(part, seen)
    layers = judge.layers()
    return LayerProof(
        tensors=len(layers),
        samples=_count(few),
        exact=float(np.mean([layer.exact for layer in layers])),
        worst=max(layers, key=lambda layer: layer.max),
        same=same,
        fault=next((layer for layer in layers if layer.max > ALLOWED_STEPS + STEP_SLACK), None),
    )


def expose_activations(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """A copy with each quantised activation dequantised into an output of its own; and who makes each, in order.

    Each gets a DequantizeLinear with constants of its own: a shared one would keep a runtime from fusing. A tensor that
    folds more into its first dimension than the batch, such as (N·T, C), leaves as (N, T, C).
    """
    graph, rows = Graph(inferred(model)), _rows_per_sample(model)
    makers: dict[str, str] = {}
    for node in graph.nodes:
        edge = node.input[0] if node.op_type == "QuantizeLinear" else ""
        maker = graph.producer(edge)
        if maker is not None and edge in rows and _leaves(graph, edge) and edge not in makers:
            makers[edge] = f"{maker.op_type} {label(maker)}"
            _expose(graph, node, rows[edge])
    return graph.model(), makers


def cut_at(shown: onnx.ModelProto, tensors: Iterable[str]) -> onnx.ModelProto:
    """A watched graph that reads each tensor from an input of its own instead of computing it: `<tensor>.given`."""
    graph = Graph(inferred(shown))
    for tensor in tensors:
        given, shape = tensor + GIVEN, graph.shapes[tensor]
        graph.add_input(given, like=tensor + WATCHED)
        if len(shape) != len(graph.shapes[tensor + WATCHED]):
            flat = graph.add_constant(f"{given}.shape", np.array([-1, *shape[1:]], np.int64))
            given = graph.add("Reshape", [given, flat], graph.fresh(f"{given}.flat")).output[0]
        quantize = next(node for node in graph.consumers(tensor) if node.op_type == "QuantizeLinear")
        for dequantize in graph.consumers(quantize.output[0]):
            if not dequantize.output[0].startswith(tensor + WATCHED):
                graph.reroute(dequantize.output[0], given)
    return graph.model()


def _rows_per_sample(model: onnx.ModelProto) -> dict[str, int]:
    """How many rows of each tensor's first dimension one sample has; without those that do not grow with the batch."""
    small, large = (shapes_of(at_batch(model, batch)) for batch in (2, 3))
    graph = Graph(model)
    built_in = next((graph.shapes[name][0] for name in graph.inputs), None)
    found = {}
    for edge in small.keys() & large.keys():
        first, second = ((shapes[edge] or (None,))[0] for shapes in (small, large))
        if first and second:
            batches = (built_in, built_in) if built_in else (2, 3)
            rows = first // batches[0]
            if rows and (rows * batches[0], rows * batches[1]) == (first, second):
                found[edge] = rows
    return found


class _Judge:
    """Every tensor against the reference of its own inputs; an output that stays float counts in parts of its range.

    The reference takes batches as the runtime does: what folds steps and samples into one dimension may hold all of
    a step before the next.
    """

    def __init__(
        self,
        reference: Reference,
        batch: int,
        makers: Mapping[str, str],
        truth: Arrays,
        steps: Mapping[str, float | None],
    ) -> None:
        self._reference, self._batch = reference, batch
        self._makers = makers
        names = {tensor + WATCHED: (tensor, node) for tensor, node in makers.items()}
        floats = [
            name for name, step in steps.items() if step is None and name in truth and truth[name].dtype.kind == "f"
        ]
        self._names = names | {name: (name, "the network's output") for name in floats}
        self._steps = {name: steps[name] or float_step(truth[name]) for name in self._names}
        self._furthest, self._exact, self._samples = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0), 0

    def add(self, inputs: Arrays, seen: Arrays) -> None:
        """Judge some samples, by all tensors that a runtime gives of them: taken out of `seen`, for they are large."""
        expected = self._expected(inputs, seen)
        self._samples += _count(inputs)
        for name in self._names:
            distance = steps_apart(seen.pop(name), expected.pop(name), self._steps[name])
            distance = np.nan_to_num(distance, nan=FARTHEST, posinf=FARTHEST)  # what is no number is not near
            self._furthest[name] = max(self._furthest.get(name, 0.0), float(distance.max()))
            self._exact[name] = self._exact.get(name, 0.0) + float(np.mean(distance < 0.5)) * _count(inputs)

    def _expected(self, inputs: Arrays, seen: Arrays) -> Arrays:
        given = inputs | {tensor + GIVEN: seen[tensor + WATCHED] for tensor in self._makers}
        return self._reference.run({name: given[name] for name in self._reference.inputs}, batch=self._batch)

    def layers(self) -> list[Layer]:
        """What was found, in the order of the graph."""
        return [
            Layer(tensor=tensor, node=node, max=self._furthest[name], exact=self._exact[name] / self._samples)
            for name, (tensor, node) in self._names.items()
        ]


@dataclass(frozen=True)
class _Built:
    """A graph as the target's runtime has it."""

    bundle: Path
    manifest: Manifest
    batch: int
    predict: Predict

    @classmethod
    def of(
        cls, graph: onnx.ModelProto, target: Target, bundle: Path, inputs: Arrays, truth: Arrays, predict: Predict
    ) -> "_Built":
        """Compile it; `truth` is what the reference makes of the inputs."""
        roomy = target.model_copy(update={"limits": Limits()})  # all tensors at once need more than the model does
        manifest = write_bundle(graph, roomy, bundle, "int8", name="layers", inputs=inputs, outputs=truth)
        return cls(bundle, manifest, target.batch, predict)

    def run(self, inputs: Arrays) -> Arrays:
        """What the runtime answers, as the model sees it."""
        answers = self.predict(self.bundle, stored_inputs(self.manifest, inputs), self.batch)
        return {spec.name: from_bundle(spec, answers.pop(spec.name)) for spec in self.manifest.outputs}


def _bytes_per_sample(shown: onnx.ModelProto) -> int:
    """What all tensors of a sample take."""
    shapes = Graph(shown).shapes
    return sum(4 * math.prod(size or 1 for size in shapes[output.name][1:]) for output in shown.graph.output)


def _first(inputs: Mapping[str, Array], count: int) -> Arrays:
    return {name: array[:count] for name, array in inputs.items()}


def _count(inputs: Mapping[str, Array]) -> int:
    return len(next(iter(inputs.values())))


def _leaves(graph: Graph, edge: str) -> bool:
    """Whether a bundle can hold a tensor: its batch comes first, its other sizes are known."""
    return edge in graph.types and bool(graph.shapes.get(edge)) and None not in graph.shapes[edge][1:]


def _expose(graph: Graph, quantize: onnx.NodeProto, rows: int) -> None:
    name, integers = quantize.input[0] + WATCHED, quantize.output[0]
    if rows > 1:
        shape = [-1, rows, *(graph.shapes[quantize.input[0]] or ())[1:]]
        target = graph.add_constant(f"{name}.shape", np.array(shape, np.int64))
        plain = _with_own_constants(graph, "DequantizeLinear", integers, quantize, f"{name}.flat")
        apart = graph.add("Reshape", [plain, target], graph.fresh(f"{name}.apart")).output[0]
        integers = _with_own_constants(graph, "QuantizeLinear", apart, quantize, f"{name}.integers")
    _with_own_constants(graph, "DequantizeLinear", integers, quantize, name)
    graph.add_output(name, like=quantize.input[0], sizes=[None, *shape[1:]] if rows > 1 else None)


def _with_own_constants(graph: Graph, kind: str, source: str, like: onnx.NodeProto, result: str) -> str:
    constants = [graph.add_constant(f"{result}.{i}", graph.constants[old]) for i, old in enumerate(like.input[1:])]
    graph.add(kind, [source, *constants], result)
    return result
