"""A batch that an exporter has built in, freed: the targets of Reshape that count samples stop counting them.

Reshape keeps the order of elements, so the batch is found behind it by how many elements lie outside of it.
"""

from math import prod

import numpy as np
import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph, set_attribute
from edgekd.onnx_import.inputs import Arrays, model_inputs, sizes_of
from edgekd.onnx_import.shapes import declare, fix_shapes
from edgekd.quantization.reference import Reference

ADVICE = "export it with a dynamic batch"


def static_batch(model: onnx.ModelProto) -> int | None:
    """The batch that an exporter has built in; None where the batch is free. BadInputError where inputs disagree."""
    sizes = {value.name: sizes_of(value)[0] for value in model_inputs(model)}
    found = set(sizes.values())
    if len(found) > 1:
        shown = ", ".join(f"{name} {size or 'any'}" for name, size in sizes.items())
        raise BadInputError(
            f"the inputs differ in their first dimension ({shown}): it has to be the batch of all of them; "
            "one that is no sample becomes a constant with --set INPUT=VALUE; without a batch, samples have one "
            f"dimension more (--shape {next(iter(sizes))}=1,…)"
        )
    return found.pop()


def first_batch(inputs: Arrays, batch: int) -> Arrays:
    """The first samples, as many as a built-in batch; raise BadInputError for fewer."""
    if any(len(array) < batch for array in inputs.values()):
        raise BadInputError(f"the model's batch of {batch} is built in: it needs at least as many samples")
    return {name: array[:batch] for name, array in inputs.items()}


def first_samples(inputs: Arrays, count: int) -> Arrays:
    """At most the first `count` samples."""
    return {name: array[:count] for name, array in inputs.items()}


def in_batches_of_one(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose inputs hold one sample."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in model_inputs(fixed):
        declare(value, [1, *sizes_of(value)[1:]])
    return fixed


def free_batch(model: onnx.ModelProto, feeds: Arrays) -> onnx.ModelProto:
    """A copy that takes any batch, as far as its operators do; the caller checks what it computes.

    `feeds` hold one batch of the built-in size. Raises BadInputError where the model cannot run on two.
    """
    try:
        return _free(model, feeds)
    except BadInputError as error:
        raise BadInputError(f"its batch is built in and cannot be freed: {ADVICE} ({error})") from error


def _free(model: onnx.ModelProto, feeds: Arrays) -> onnx.ModelProto:
    graph = Graph(model)
    reshapes = [node for node in graph.nodes if node.op_type == "Reshape"]
    seen = Reference(model, [edge for node in reshapes for edge in (node.input[0], node.output[0])]).run(feeds)
    seen |= feeds
    targets: dict[str, tuple[int, ...]] = {}
    outside: dict[str, int] = {}
    batch, twice = (len(next(iter(feeds.values()))), {name: np.concatenate([a, a]) for name, a in feeds.items()})
    for node in reshapes:
        source, made = seen[node.input[0]].shape, seen[node.output[0]].shape
        axis = _moved(source, _shape(_up_to(model, node.input[0], targets), node.input[0], twice))
        if axis is not None:
            before = prod(source[:axis]) * _outside(graph, node.input[0], outside)
            targets[node.output[0]], outside[node.output[0]] = _freed(made, before, batch)
    freed = _retargeted(model, targets).model()
    for value in freed.graph.input:
        declare(value, [None, *sizes_of(value)[1:]])
    return fix_shapes(freed, {})


def _freed(shape: tuple[int, ...], before: int, batch: int) -> tuple[tuple[int, ...], int]:
    """A target with -1 where the batch is, and how many elements lie outside of it within that dimension.

    A batch of 1 may hide in several: least in the last, which holds features, then where least lies outside.
    """
    found = []
    for index, size in enumerate(shape):
        lead = prod(shape[:index])
        if before % lead == 0 and size % (before // lead * batch) == 0:
            found.append((index == len(shape) - 1, before // lead, index))
    _, inner, index = min(found, default=(False, 1, 0))
    return (*shape[:index], -1, *shape[index + 1 :]), inner


def _outside(graph: Graph, edge: str, known: dict[str, int]) -> int:
    """Elements outside of the batch within its own dimension, as the Reshape before has left them."""
    waiting, seen = [edge], {edge}
    while waiting:
        name = waiting.pop()
        if name in known:
            return known[name]
        producer = graph.producer(name)
        operands = set(producer.input if producer is not None else ()) - seen - graph.constants.keys() - {""}
        seen |= operands
        waiting += sorted(operands)
    return 1


def _moved(once: tuple[int, ...], twice: tuple[int, ...]) -> int | None:
    return next((index for index, sizes in enumerate(zip(once, twice, strict=True)) if sizes[0] != sizes[1]), None)


def _shape(model: onnx.ModelProto, edge: str, feeds: Arrays) -> tuple[int, ...]:
    if edge in feeds:
        return feeds[edge].shape
    taken = {value.name for value in model_inputs(model)}
    shape: tuple[int, ...] = Reference(model).run({name: feeds[name] for name in taken})[edge].shape
    return shape


def _up_to(model: onnx.ModelProto, edge: str, targets: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """What makes one edge, for any batch."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    cut.graph.ClearField("value_info")
    del cut.graph.output[:]
    cut.graph.output.add(name=edge)
    for value in cut.graph.input:
        declare(value, [None, *sizes_of(value)[1:]])
    return _retargeted(cut, targets).model()


def _retargeted(model: onnx.ModelProto, targets: dict[str, tuple[int, ...]]) -> Graph:
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type == "Reshape" and node.output[0] in targets:
            target = np.array(targets[node.output[0]], np.int64)
            graph.set_input(node, 1, graph.add_constant(f"{node.output[0]}_shape", target))
            set_attribute(node, "allowzero", 0)
    return graph
