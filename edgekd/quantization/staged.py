"""A model cut into stages that run one after the other: what lies before a change is not computed again."""

from collections.abc import Iterator, Mapping, Sequence

import onnx

from edgekd.onnx_graph import Array
from edgekd.quantization.reference import Reference

Arrays = dict[str, Array]
STAGES = 16


class Staged:
    """A sorted model with switches among its inputs, on samples whose answers with all of them off are known.

    `handed` declares the tensors that one stage may hand to the next. Float is fused: no fusion may reach over them, or
    stages would compute something else than the whole.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        handed: Mapping[str, onnx.ValueInfoProto],
        samples: Arrays,
        switches: Mapping[str, Array],
        batch: int,
    ) -> None:
        self._batch = batch
        self._stages = [Reference(stage, fused=True) for stage in stages(model, handed)]
        self._outputs = [value.name for value in model.graph.output]
        self._begins = {name: place for place, stage in reversed([*enumerate(self._stages)]) for name in stage.inputs}
        self._known = samples | dict(switches)
        self._known = self._computed(self._stages)

    def run(self, switches: Mapping[str, Array]) -> Arrays:
        """Return the outputs with some switches in another position."""
        first = min((self._begins[name] for name in switches if name in self._begins), default=len(self._stages))
        made = self._computed(self._stages[first:], switches)
        return {name: made[name] for name in self._outputs}

    def _computed(self, rest: Sequence[Reference], switches: Mapping[str, Array] | None = None) -> Arrays:
        values = self._known | dict(switches or {})
        for stage in rest:
            values |= stage.run({name: values[name] for name in stage.inputs}, self._batch)
        return values


def stages(model: onnx.ModelProto, handed: Mapping[str, onnx.ValueInfoProto]) -> Iterator[onnx.ModelProto]:
    """Cut a sorted model where nothing is read further on but its inputs and tensors that may be handed on.

    Their first dimension has to be the samples', as that of the model's first input.
    """
    begin, rows = 0, _rows(model.graph.input[0])
    by_sample = {edge: value for edge, value in handed.items() if _rows(value) == rows}
    for end in _ends(model.graph, frozenset(by_sample)):
        yield _stage(model, begin, end, by_sample)
        begin = end


def _ends(graph: onnx.GraphProto, handed: frozenset[str]) -> list[int]:
    """Where stages end: as many nodes in each as may be."""
    last = {name: place for place, node in enumerate(graph.node) for name in _reads(node)}
    free, alive = list[int](), set[str]()
    for place, node in enumerate(graph.node, 1):
        alive = {name for name in (*alive, *node.output) if last.get(name, -1) >= place}
        free += [place] if alive <= handed else []
    wanted = (len(graph.node) * number / STAGES for number in range(1, STAGES))
    return sorted({len(graph.node), *(min(free, key=lambda place: abs(place - ideal)) for ideal in wanted)})


def _stage(model: onnx.ModelProto, begin: int, end: int, handed: Mapping[str, onnx.ValueInfoProto]) -> onnx.ModelProto:
    graph, part = model.graph, onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    nodes, outputs = graph.node[begin:end], {value.name for value in graph.output}
    read = {name for node in nodes for name in _reads(node)}
    later = {name for node in graph.node[end:] for name in _reads(node)} | outputs
    made = [name for node in nodes for name in node.output]
    part.graph.name = graph.name
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
    part.graph.input.extend(value for value in graph.input if value.name in read)
    part.graph.input.extend(value for name, value in handed.items() if name in read and name not in made)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name in later)
    return part


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """What a node reads, in its branches too."""
    yield from node.input
    for entry in node.attribute:
        for inner in entry.g.node:
            yield from _reads(inner)


def _rows(value: onnx.ValueInfoProto) -> tuple[str, int] | None:
    dims = value.type.tensor_type.shape.dim
    return (dims[0].dim_param, dims[0].dim_value) if dims else None
