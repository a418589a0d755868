"""Sequences through 2-D kernels: (N, L, C) is a map of height 1."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from edgekd.backends.tflite.graph import Node
from edgekd.backends.tflite.writer import Writer

Emit = Callable[[Writer, Node], None]

NEUTRAL = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0, "output_shape": 1}


def on_maps(emit: Emit) -> Emit:
    """Let a rule for maps (N, H, W, C) lower nodes over sequences (N, L, C), too."""

    def lower(writer: Writer, node: Node) -> None:
        sequence = writer.tensor(node.output)
        if sequence.rank != 3:
            return emit(writer, node)
        shape, signature = _raised(sequence.shape), _raised(sequence.signature)
        output = writer.like(node.output, f"{node.output}:map", shape=shape, signature=signature)
        emit(writer, _lifted(writer, node, output))
        return writer.reshape(output, node.output)

    return lower


def _lifted(writer: Writer, node: Node, output: str) -> Node:
    attributes = {name: _attribute(name, value) for name, value in node.attributes.items()}
    inputs = [_map_of(writer, node.inputs[0]), *(_flat_kernel(writer, name) for name in node.inputs[1:])]
    return Node(node.op, node.name, inputs, output, attributes)


def _attribute(name: str, value: Any) -> Any:
    if name == "pads":
        return [0, value[0], 0, value[1]]
    return [NEUTRAL[name], *value] if name in NEUTRAL else value


def _map_of(writer: Writer, name: str) -> str:
    """The map behind a sequence that a rule made, or one made from it."""
    lifted = f"{name}:map"
    if lifted not in writer:
        sequence = writer.tensor(name)
        shape, signature = _raised(sequence.shape), _raised(sequence.signature)
        writer.like(name, lifted, shape=shape, signature=signature)
        writer.reshape(name, lifted)
    return lifted


def _raised(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (sizes[0], 1, *sizes[1:])


def _flat_kernel(writer: Writer, name: str) -> str:
    tensor = writer.graph.tensors[name] if name else None
    if tensor is None or tensor.data is None or tensor.rank != 3:
        return name
    data = np.expand_dims(tensor.data, 2)
    writer.graph.tensors[f"{name}:map"] = replace(
        tensor, name=f"{name}:map", data=data, shape=data.shape, signature=data.shape
    )
    return f"{name}:map"
