"""QDQ collapsed: an op whose inputs come from DQ and whose only reader is a Q computes in int8.

Every other op stays between DEQUANTIZE and QUANTIZE as a float island, and is noted.
"""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from edgekd.backends.tflite.graph import Graph, Node, Quantisation, Tensor, constant
from edgekd.backends.tflite.rules import RULES
from edgekd.onnx_graph import QUANTIZERS

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def collapse(graph: Graph) -> None:
    """Move every op that can into int8; raise BadInputError for a quantiser that is not of int8 or uint8."""
    _attach(graph)
    _merge_equal_quantisers(graph)
    sources = {node.output: node.inputs[0] for node in graph.nodes if node.op == DEQUANTIZE}
    for node in [node for node in graph.nodes if node.op == "MatMul" and len(node.inputs) > 2]:
        _round_bias(graph, node, sources)
    _Integers(graph, sources).integrate()
    _requantise(graph, sources)
    _dequantise_constants(graph)
    graph.prune()


def integer_borders(graph: Graph) -> None:
    """Make inputs and outputs int8 under their float names, where only a quantiser stands between."""
    consumers, producers = graph.consumers(), graph.producers()
    for name in graph.inputs:
        readers = consumers[name]
        if len(readers) != 1 or readers[0].op != QUANTIZE:
            graph.notes.append(f"input {name!r} stays float: a float op reads it")
            continue
        graph.tensors[name] = replace(graph.tensors[readers[0].output], name=name)
        graph.redirect(readers[0].output, name)
        graph.nodes.remove(readers[0])
    for name in graph.outputs:
        node = producers.get(name)
        source = node.inputs[0] if node and node.op == DEQUANTIZE else ""
        if node is None or source not in producers or source in graph.outputs or consumers[name]:
            graph.notes.append(f"output {name!r} stays float: no quantiser makes it, or a float op reads it")
            continue
        graph.tensors[name] = replace(graph.tensors[source], name=name)
        graph.nodes.remove(node)
        producers[source].output = name
        graph.redirect(source, name)


def _attach(graph: Graph) -> None:
    """Store scales and zero points in the tensors; uint8 becomes int8 by a shift of 128."""
    for node in [node for node in graph.nodes if node.op in QUANTIZERS]:
        name = node.output if node.op == QUANTIZE else node.inputs[0]
        tensor = graph.tensors[name]
        quantisation = _quantisation(graph, node)
        if node.op == DEQUANTIZE and tensor.quantisation is not None:
            if tensor.quantisation != quantisation:
                node.refuse("its scale and zero point differ from those of its QuantizeLinear")
        elif node.op == DEQUANTIZE and tensor.data is None:
            node.refuse(f"{name!r} is integer already outside the graph: give the model float inputs")
        else:
            graph.tensors[name] = _quantised(node, tensor, quantisation)
        node.inputs = node.inputs[:1]


def _quantisation(graph: Graph, node: Node) -> Quantisation:
    scale, zero_point = graph.value(node, 1), graph.value(node, 2)
    if scale is None or zero_point is None or scale.ndim > 1:
        node.refuse("it needs a constant scale and zero point, per tensor or per channel")
    steps = zero_point.reshape(-1).astype(np.int64) - (128 if zero_point.dtype == np.uint8 else 0)
    axis = node.attributes.get("axis", 1) % max(graph.tensors[node.inputs[0]].rank, 1)
    return Quantisation(scale.reshape(-1).astype(np.float32), steps, axis if scale.size > 1 else 0)


def _quantised(node: Node, tensor: Tensor, quantisation: Quantisation) -> Tensor:
    if tensor.dtype not in (np.int8, np.uint8, np.int32):
        node.refuse(f"TFLite has no {tensor.dtype} quantisation here")
    dtype = np.dtype(np.int8) if tensor.dtype == np.uint8 else tensor.dtype
    data = tensor.data
    if data is not None and tensor.dtype == np.uint8:
        data = (data.astype(np.int16) - 128).astype(np.int8)
    return replace(tensor, dtype=dtype, data=data, quantisation=quantisation)


def _merge_equal_quantisers(graph: Graph) -> None:
    first: dict[str, list[Node]] = {}
    for node in [node for node in graph.nodes if node.op == QUANTIZE]:
        same = graph.tensors[node.output].quantisation
        twins = first.setdefault(node.inputs[0], [])
        twin = next((twin for twin in twins if graph.tensors[twin.output].quantisation == same), None)
        if twin is None:
            twins.append(node)
        else:
            graph.redirect(node.output, twin.output)
            graph.nodes.remove(node)


def _round_bias(graph: Graph, node: Node, sources: dict[str, str]) -> None:
    """A float bias that was added to a product of int8 tensors becomes int32, as the kernel sums it, if it fits."""
    x, weight = (graph.tensors[sources.get(name, name)].quantisation for name in node.inputs[:2])
    values = graph.tensors[node.inputs[2]].data
    if values is None or x is None or weight is None:
        return
    scale = np.broadcast_to((x.scale * weight.scale).astype(np.float32), values.shape)
    stored = np.rint(values.astype(np.float64) / scale)
    if np.abs(stored).max(initial=0) > np.iinfo(np.int32).max:  # beside it the product is nothing
        return
    node.inputs[2] = f"{node.output}:bias"
    sources[node.inputs[2]] = f"{node.output}:bias:int32"
    graph.tensors[node.inputs[2]] = constant(node.inputs[2], values)
    rounded = Quantisation(scale, np.zeros(scale.size, np.int64))
    graph.tensors[sources[node.inputs[2]]] = constant(sources[node.inputs[2]], stored.astype(np.int32), rounded)


class _Integers:
    """Moves ops into int8 one after the other, with who reads each tensor kept up to date."""

    def __init__(self, graph: Graph, sources: dict[str, str]) -> None:
        self.graph, self.sources, self.readers = graph, sources, graph.consumers()
        self.reals: defaultdict[str, list[str]] = defaultdict(list)
        for output, source in sources.items():
            self.reals[source].append(output)

    def integrate(self) -> None:
        """Let every op read what its DQs read and make what its Q makes, or note why it cannot."""
        gone = {id(quantiser) for node in list(self.graph.nodes) for quantiser in self._move(node)}
        self.graph.nodes = [node for node in self.graph.nodes if id(node) not in gone]

    def _move(self, node: Node) -> list[Node]:
        """One op; the quantiser that it takes the place of."""
        if node.op in QUANTIZERS:
            return []
        graph, sources, readers = self.graph, self.sources, self.readers[node.output]
        reason = _float_reason(graph, node, sources, readers)
        if reason is not None:
            if sources and _computes_reals(graph, node):
                graph.notes.append(f"float island: node {node.name!r} ({node.op}): {reason}")
            return []
        quantiser = readers[0]
        self._read(node, [sources.get(name, name) for name in node.inputs])
        if RULES[node.op].keeps_scale:
            kept = graph.tensors[node.inputs[0]].quantisation
            made = graph.tensors[quantiser.output].quantisation
            graph.tensors[node.output] = replace(graph.tensors[node.output], dtype=np.dtype(np.int8), quantisation=kept)
            if kept != made:
                return []
        else:
            graph.tensors[node.output] = replace(graph.tensors[quantiser.output], name=node.output)
        self._replace(quantiser, node.output)
        return [quantiser]

    def _read(self, node: Node, inputs: list[str]) -> None:
        for name in node.inputs:
            self.readers[name] = [reader for reader in self.readers[name] if reader is not node]
        node.inputs = inputs
        for name in inputs:
            self.readers[name].append(node)

    def _replace(self, quantiser: Node, made: str) -> None:
        """Let whoever reads a quantiser read the tensor that takes its place."""
        self.readers[made] = [reader for reader in self.readers[made] if reader is not quantiser]
        for reader in {id(reader): reader for reader in self.readers[quantiser.output]}.values():
            self._read(reader, [made if name == quantiser.output else name for name in reader.inputs])
        for output in self.reals.pop(quantiser.output, []):
            self.sources[output] = made
            self.reals[made].append(output)


def _computes_reals(graph: Graph, node: Node) -> bool:
    """Whether int8 could have been expected: not of masks, indices and what is made of them alone."""
    tensors = [graph.tensors[name] for name in (node.output, *node.inputs[: RULES[node.op].operands]) if name]
    return all(tensor.dtype == np.float32 or tensor.quantisation is not None for tensor in tensors)


def _float_reason(graph: Graph, node: Node, sources: dict[str, str], readers: list[Node]) -> str | None:
    operands = [name for name in node.inputs[: RULES[node.op].operands] if name]
    floats = [name for name in operands if name not in sources]
    if floats:
        return f"input {floats[0]!r} is not quantised"
    if node.output in graph.outputs or len(readers) != 1 or readers[0].op != QUANTIZE:
        return "its output is not read by exactly one QuantizeLinear"
    probe = replace(node, inputs=[sources.get(name, name) for name in node.inputs], output=readers[0].output)
    return RULES[node.op].refuses_int8(probe, graph)


def _requantise(graph: Graph, sources: dict[str, str]) -> None:
    """A Q that reads a DQ maps int8 to int8, and nothing at all when both have the same parameters."""
    for node in [node for node in graph.nodes if node.op == QUANTIZE and node.inputs[0] in sources]:
        source = sources[node.inputs[0]]
        node.inputs = [source]
        if graph.tensors[source].quantisation == graph.tensors[node.output].quantisation:
            graph.redirect(node.output, source)
            graph.nodes.remove(node)


def _dequantise_constants(graph: Graph) -> None:
    for node in [node for node in graph.nodes if node.op == DEQUANTIZE]:
        tensor = graph.tensors[node.inputs[0]]
        if tensor.data is not None and tensor.quantisation is not None:
            graph.tensors[node.output] = constant(node.output, tensor.quantisation.dequantise(tensor.data))
            graph.nodes.remove(node)
