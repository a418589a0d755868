"""The graph between ONNX and TFLite: tensors that know their quantisation, and the nodes between them."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import BadInputError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Quantisation:
    """real = (stored - zero_point) * scale; one scale, or one per index of `axis`."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Quantisation)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
            and (self.axis == other.axis or self.scale.size == 1)
        )

    def dequantise(self, stored: Array) -> NDArray[np.float32]:
        """Real values, computed as ONNX's DequantizeLinear does."""
        along = [1] * stored.ndim
        if self.scale.size > 1:
            along[self.axis] = -1
        steps = stored.astype(np.int64) - self.zero_point.reshape(along)
        return steps.astype(np.float32) * self.scale.reshape(along)


@dataclass(frozen=True)
class Tensor:
    """A value. `shape` is at the target's batch, `signature` has -1 where a dimension follows the batch."""

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: np.dtype[Any]
    data: Array | None = None
    quantisation: Quantisation | None = None

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)


def constant(name: str, data: Array, quantisation: Quantisation | None = None) -> Tensor:
    """A tensor that holds its value."""
    return Tensor(name, data.shape, data.shape, data.dtype, data, quantisation)


@dataclass
class Node:
    """One operation. `order`: stored dimension i of its maps is ONNX dimension order[i] (None: the same).

    `others` are what it makes besides its output, in ONNX's own order of dimensions.
    """

    op: str
    name: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any] = field(default_factory=dict)
    order: tuple[int, ...] | None = None
    others: tuple[str, ...] = ()

    @property
    def made(self) -> tuple[str, ...]:
        """All that it makes."""
        return (self.output, *self.others)

    def rename(self, made: str, name: str) -> None:
        """Call something that it makes by another name."""
        self.output, *others = (name if each == made else each for each in self.made)
        self.others = tuple(others)

    def refuse(self, reason: str) -> NoReturn:
        """Raise BadInputError naming this node and its op."""
        raise BadInputError(f"node {self.name!r} ({self.op}): {reason}")

    def axis(self, axis: int, rank: int) -> int:
        """Where an ONNX axis (negative ones count from the end) is stored."""
        positive = axis % rank
        return self.order.index(positive) if self.order else positive

    def permutation(self, rank: int) -> tuple[int, ...]:
        """Which input dimension each output dimension of a Transpose is."""
        return tuple(self.attributes.get("perm") or range(rank)[::-1])


@dataclass
class Graph:
    """Nodes in execution order over named tensors; a missing optional input is "".

    With a fixed batch no dimension follows it, as compilers for NPUs and microcontrollers have it.
    """

    tensors: dict[str, Tensor]
    nodes: list[Node]
    inputs: list[str]
    outputs: list[str]
    notes: list[str] = field(default_factory=list)
    fixed_batch: bool = False

    def producers(self) -> dict[str, Node]:
        """Who makes each tensor."""
        return {name: node for node in self.nodes for name in node.made}

    def consumers(self) -> dict[str, list[Node]]:
        """Who reads each tensor; a node that reads it twice is listed twice."""
        readers: defaultdict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return readers

    def value(self, node: Node, position: int) -> Array | None:
        """Constant input of a node; None when it is absent; refuses one that is computed."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        data = self.tensors[node.inputs[position]].data
        if data is None:
            node.refuse(f"input {position} ({node.inputs[position]!r}) must be a constant")
        return data

    def required(self, node: Node, position: int) -> Array:
        """Constant input of a node; refuses an absent or computed one."""
        data = self.value(node, position)
        if data is None:
            node.refuse(f"input {position} is missing: it must be a constant")
        return data

    def redirect(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new`."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]

    def prune(self) -> None:
        """Drop nodes that no output needs."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.made):
                needed |= set(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
