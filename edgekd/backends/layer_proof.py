"""What judging every layer alone found."""

from edgekd.schema import Schema


class Layer(Schema):
    """How far one tensor is from what the reference makes of the same inputs; `exact` is the share that is equal."""

    tensor: str
    node: str
    max: float
    exact: float

    def __str__(self) -> str:
        return f"{self.tensor}, made by {self.node}, is off by {self.max:.1f} steps in itself"


class LayerProof(Schema):
    """All layers of a network: how many tensors were judged on how many samples, the one furthest off, and whether
    the build that shows its tensors answers as the deployed one does, bit for bit.

    `fault` is the first layer beyond one step.
    """

    tensors: int
    samples: int
    exact: float
    worst: Layer
    same: bool
    fault: Layer | None = None
