"""What is known of a model whatever its batch, by looking at two of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx

from edgekd.backends.shapes import StaticShapes, static_shapes
from edgekd.onnx_graph import Array


@dataclass(frozen=True)
class Known:
    """Shapes and values at the target's batch, and at one sample more."""

    here: StaticShapes
    elsewhere: StaticShapes

    @classmethod
    def of(cls, model: onnx.ModelProto, batch: int) -> "Known":
        """Look at a model."""
        return cls(static_shapes(model, batch), static_shapes(model, batch + 1))

    @cached_property
    def values(self) -> dict[str, Array]:
        """What is constant whatever the batch."""
        return {
            name: value
            for name, value in self.here.values.items()
            if name in self.elsewhere.values and np.array_equal(value, self.elsewhere.values[name])
        }

    def signature(self, name: str) -> tuple[int, ...] | None:
        """A tensor's shape, -1 where a dimension follows the batch; None where it is not known."""
        if name not in self.here.shapes or name not in self.elsewhere.shapes:
            return None
        shapes = self.here.shapes[name][0], self.elsewhere.shapes[name][0]
        return tuple(size if size == other else -1 for size, other in zip(*shapes, strict=True))
