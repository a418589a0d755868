"""A network as quantisation sees it, whatever front end it comes from: operations by their ONNX words, and edges."""

from dataclasses import dataclass
from functools import cached_property

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
BIASED = WEIGHTED - {"MatMul"}  # whose bias is an Add of its own
ELEMENTWISE = frozenset({"Add", "Mul"})
POOLS = frozenset({"AveragePool", "GlobalAveragePool"})
ACTIVATIONS = frozenset({"Relu", "Clip"})
FIXED = frozenset({"Softmax", "Sigmoid", "Tanh"})
FLOAT = frozenset({"Attention", "LayerNormalization"})
PASS_THROUGH = frozenset(
    {
        *("DepthToSpace", "Flatten", "Gather", "GlobalMaxPool", "MaxPool", "Pad", "Reshape"),
        *("Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    }
)


@dataclass(frozen=True)
class Op:
    """One operation by its ONNX word. Edges are activations; constants are not edges.

    `constant` marks a constant operand: the weight of a Conv, ConvTranspose, Gemm or MatMul, the bias of an Add.
    `arithmetic` marks a layer that was never learned: its weights are whole numbers, and it has no bias.
    A front end leaves out what does nothing at inference (Identity, Dropout) and gives kinds their plain meaning only:
    Clip starts at 0, Pad pads with 0, Gather takes from an activation by constant indices, Resize stays within its
    input's range, Concat joins activations only, ConvTranspose has one group, GlobalAveragePool is any mean over all
    spatial axes. Whatever differs gets another word, and stays float.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constant: bool = False
    arithmetic: bool = False


@dataclass(frozen=True)
class View:
    """A network as its operations in topological order."""

    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def producers(self) -> dict[str, Op]:
        """The operation that makes each edge."""
        return {edge: op for op in self.ops for edge in op.outputs}

    @cached_property
    def consumers(self) -> dict[str, list[Op]]:
        """The operations that read each edge, once per operand."""
        found: dict[str, list[Op]] = {}
        for op in self.ops:
            for edge in op.inputs:
                found.setdefault(edge, []).append(op)
        return found

    def only_consumer(self, edge: str) -> Op | None:
        """The one operation that reads an edge which nothing else sees."""
        consumers = self.consumers.get(edge, [])
        return consumers[0] if len(consumers) == 1 and edge not in self.outputs else None
