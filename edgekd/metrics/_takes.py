"""What outputs and labels a metric is of, so that no number comes of others."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
REST = "…"  # any further axes
CLASSES = "C"


@dataclass(frozen=True)
class Takes:
    """Axes by name, as in `N, C, …`: the same name is the same size, C is of two classes or more, `…` any more axes.

    Attributes:
        outputs: the outputs' axes.
        labels: those of the labels.
        kind: what labels are: class numbers (below C, where there is one), flags (0 or 1), or any numbers.
        ignore: the class number that is none.
    """

    outputs: str
    labels: str
    kind: Literal["class", "flag", "number"] = "number"
    ignore: int | None = None

    @property
    def by_class(self) -> bool:
        """Whether outputs have an axis of classes."""
        return CLASSES in self.outputs.split(", ")

    def fault(self, outputs: Array, labels: Array, start: int = 0) -> str | None:
        """Return what of them is not as the metric takes it, None where all is; `start` numbers the first sample."""
        sizes: dict[str, Any] = {}
        if not (_binds(self.outputs, outputs.shape, sizes) and _binds(self.labels, labels.shape, sizes)):
            return f"it takes outputs ({self.outputs}) and labels ({self.labels})"
        if labels.dtype.kind not in "biuf":
            return f"labels are {labels.dtype}, not numbers"
        if self.kind == "number":
            return None
        wrong = self._wrong(labels, sizes.get(CLASSES))
        if not wrong.any():
            return None
        sample = start + int(wrong.reshape(len(labels), -1).any(axis=1).argmax())
        return f"label {labels[wrong][0]} in sample {sample} is no {self._wanted(sizes.get(CLASSES))}"

    def _wrong(self, labels: Array, classes: int | None) -> Array:
        if self.kind == "flag":
            return ~np.isin(labels, (0, 1))
        outside = (labels < 0) | (labels >= classes) if classes is not None else np.zeros(labels.shape, bool)
        wrong: Array = outside | (labels % 1 != 0)
        return wrong if self.ignore is None else wrong & (labels != self.ignore)

    def _wanted(self, classes: int | None) -> str:
        known = "" if classes is None else f" of 0 to {classes - 1}"
        return "flag (0 or 1)" if self.kind == "flag" else f"class{known}"


def _binds(axes: str, shape: tuple[int, ...], sizes: dict[str, Any]) -> bool:
    """Whether a shape has these axes, those that have a size already of that size; `sizes` then knows the others'."""
    names = axes.split(", ")
    count = len(names) - (names[-1] == REST)
    if len(shape) < count or (len(shape) > count and names[-1] != REST):
        return False
    found = dict(zip(names, [*shape[:count], shape[count:]], strict=False))
    return all(_is_size(name, size, sizes) for name, size in found.items())


def _is_size(name: str, size: Any, sizes: dict[str, Any]) -> bool:
    if name.isdigit():
        return bool(size == int(name))
    return bool(sizes.setdefault(name, size) == size and (name != CLASSES or size > 1))
