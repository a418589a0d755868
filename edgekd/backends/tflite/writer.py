"""What the rules emit, collected: TFLite ops over named tensors."""

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.flatbuffer import Op, serialise
from edgekd.backends.tflite.graph import Array, Graph, Node, Quantisation, Tensor, constant


class Writer:
    """Collects what the rules emit. Tensors are named; the file holds those that its outputs need."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._tensors: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self._aliases: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        """Who reads each tensor of the graph, which the rules leave as it is."""
        return self.graph.consumers()

    def tensor(self, name: str) -> Tensor:
        """A tensor of the graph or of this file."""
        return self._tensors.get(name) or self.graph.tensors[name]

    def constant(self, name: str, data: Array, quantisation: Quantisation | None = None) -> str:
        """Add a tensor that holds its value; returns its name, lengthened when another value has it already."""
        while name in self._tensors and not self._holds(name, data, quantisation):
            name += "'"
        self._tensors.setdefault(name, constant(name, data, quantisation))
        return name

    def like(self, source: str, name: str, **changes: Any) -> str:
        """Add a computed tensor that resembles another; returns its name."""
        self._tensors.setdefault(name, replace(self.tensor(source), name=name, data=None, **changes))
        return name

    def alias(self, name: str, source: str) -> None:
        """Let `name` stand for another tensor with the same elements; an output needs an op that makes it."""
        if name in self.graph.outputs:
            return self.reshape(source, name)
        self._aliases[name] = self._aliases.get(source, source)
        return None

    def reshape(self, source: str, output: str) -> None:
        """RESHAPE to the output's shape, the dimension that follows the batch left open."""
        signature = self.tensor(output).signature
        options = schema.ReshapeOptionsT()
        options.newShape = list(signature)
        shape = self.constant(f"{output}:shape", np.asarray(signature, np.int32))
        self.op("RESHAPE", [source, shape], output, options)

    def op(self, code: str, inputs: list[str], output: str, options: Any = None, others: tuple[str, ...] = ()) -> None:
        """Append one TFLite op; an input of "" is an absent optional one, `others` are its further outputs."""
        self.ops.append(Op(code, [self._aliases.get(name, name) for name in inputs], output, options, others))

    def step(self, code: str, inputs: list[str], name: str, options: Any = None, **changes: Any) -> str:
        """Append an op whose output is new and resembles its first input, but for `changes`; returns its name."""
        self.op(code, inputs, self.like(inputs[0], name, **changes), options)
        return name

    def transposed(self, source: str, name: str, order: tuple[int, ...]) -> str:
        """Append a TRANSPOSE whose output is new; returns its name."""
        sizes = self.tensor(source)
        shape, signature = (tuple(each[axis] for axis in order) for each in (sizes.shape, sizes.signature))
        places = self.constant(f"{name}:order", np.asarray(order, np.int32))
        options = schema.TransposeOptionsT()
        return self.step("TRANSPOSE", [source, places], name, options, shape=shape, signature=signature)

    def finish(self) -> bytes:
        """The whole file."""
        return serialise(self._live(), self.tensor, self.graph.inputs, self.graph.outputs)

    def _live(self) -> list[Op]:
        """Without ops that no output needs."""
        needed, live = set(self.graph.outputs), []
        for op in reversed(self.ops):
            if needed.intersection(op.made):
                needed |= set(op.inputs)
                live.append(op)
        return live[::-1]

    def _holds(self, name: str, data: Array, quantisation: Quantisation | None) -> bool:
        tensor = self._tensors[name]
        return tensor.data is not None and np.array_equal(tensor.data, data) and tensor.quantisation == quantisation
