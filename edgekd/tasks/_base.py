"""What a task is: how labels look, what they teach, and what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import BadInputError
from edgekd.metrics import Metric
from edgekd.outputs import Reads, each

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]
Shape = Sequence[int | None]  # of one sample; None is any size
MOST_CLASSES = 2**31  # their numbers fit 32 bits
Outputs = Any  # arrays or, in a loss, tensors (N, …): one or, where the task reads several, these by name


class Move(Protocol):
    """How augmentation changed a batch of images (N, C, H, W)."""

    @property
    def size(self) -> tuple[int, ...]:
        """H and W."""

    def moved(self, maps: Array, /) -> Array:
        """Return other maps (N, C, H, W) moved as the images are; what enters from outside is zero."""

    def points(self, points: Array) -> Array:
        """Return where points (N, K, 2) of them are now: x and y in pixels from the image's corner."""


@dataclass(frozen=True)
class Task:
    """Everything that depends on what a model is taught; a frozen dataclass of the task's options.

    A model puts out tensors (N, …) by name: those of a dictionary or a dataclass have names, a single one is `logits`.
    The task reads one of them or, where `reads` names several, is given these by name. A task is a file of
    `edgekd.tasks`, or the user's `module:class`; it needs `metrics`, `loss` and `constant`, `decide` to be held
    against a teacher, `check` and `fits` where more than numbers and rows can be wrong. Only `loss` may import torch.
    """

    reads: ClassVar[Reads] = None  # an output's name, or several; without one `logits`, else the first
    group_size: ClassVar[int] = 1  # how many neighbouring rows belong together
    outputs: ClassVar[str] = "outputs are (N, …)"  # their shape, for whoever puts out another one
    by_class: ClassVar[bool] = False  # whether the largest of outputs (N, C, …) along C is the answer
    method: ClassVar[str] = "mse"  # what teaches it where nothing else is asked for

    @property
    def metrics(self) -> Sequence[Metric]:
        """What is measured; the first decides."""
        raise NotImplementedError

    @property
    def metric(self) -> Metric:
        """The metric that decides."""
        return self.metrics[0]

    def check(self, labels: Array, where: str, width: int | None = None, *, unlabelled: bool = False) -> Array:
        """Return labels in the type that training relies on; BadInputError, naming the sample, for others.

        `width` is how many outputs (axis 1) there are, where that is known; `unlabelled` allows samples without label.
        """
        return require_finite(labels, where, "finite numbers (N, …)", range(1, 9))

    def stack(self, labels: Sequence[Array]) -> Array | None:
        """Return labels (N, …) of samples whose own differ in shape; None where they have to be alike."""
        return None

    def check_inputs(self, labels: Array, sample: Shape, where: str) -> None:
        """Raise BadInputError, naming the sample, where checked labels do not fit inputs whose samples are so large."""

    def fits(self, outputs: Any, labels: Array) -> bool:
        """Return whether outputs (N, …) of this shape, of several one by name, can be held against labels (N, …)."""
        shapes = outputs.values() if isinstance(outputs, Mapping) else [outputs]
        return all(len(shape) and shape[0] == len(labels) for shape in shapes)

    def loss(self, outputs: Outputs, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the labels' own loss, as terms by name that are added up."""
        raise NotImplementedError

    def known(self, labels: Tensor) -> Tensor | None:
        """Return which positions (N, …) of dense outputs (N, C, …) have a label, bool; None where all have."""
        return None

    def moved(self, labels: Array, move: Move) -> Array:
        """Return labels (N, …) as they are where `move` has augmented the images (N, C, H, W) that they belong to."""
        return labels

    def scored_by(self, metric: Metric) -> Metric:
        """Return a metric that was asked for by name, of outputs as the model gives them."""
        return metric

    def decide(self, outputs: Outputs) -> Array:
        """Return the labels (N, …) that outputs (N, …) amount to."""
        raise BadInputError(f"{type(self).__name__} has no decide(outputs), by which agreement is counted")

    def draw(self, image: Array, labels: Array) -> Array | None:
        """Return an image (H, W, 3) uint8 with a sample's labels (…) drawn in; None where they have no place there."""
        return None

    def agreement(self, outputs: Outputs, reference: Outputs) -> float:
        """Return the metric where the labels are what other outputs amount to."""
        return self.metric(outputs, self.decide(reference))

    def constant(self, labels: Array) -> Outputs:
        """Return the outputs (…) that serve the labels best where no sample's inputs are looked at."""
        raise NotImplementedError

    def names(self, labels: Array, given: Sequence[str] | None, source: str) -> tuple[str, ...]:
        """Return what the outputs stand for (classes, points, …), as given or numbered; () where they have no names."""
        return tuple(given or ())

    def width(self, labels: Array, names: Sequence[str]) -> int:
        """Return how many outputs a sample has of a network that is built for the task."""
        return len(names)

    def doubt(self, labels: Array, names: Sequence[str]) -> str | None:
        """Return what looks odd about training labels that are possible, and about what is named; None for nothing."""
        return None

    def unscorable(self, labels: Array) -> str | None:
        """Return why no metric can say anything on these labels, whatever the outputs; None where it can."""
        return None

    def check_outputs(self, outputs: Any, labels: Array, names: Sequence[str], who: str) -> None:
        """Raise BadInputError, about `who`, unless its outputs (N, …), by shape, fit the labels and each name."""
        if not self.fits(outputs, labels):
            size = f", labels here {labels.shape}" if labels.ndim > 1 else ""
            raise BadInputError(f"{who} puts out {outputs} for {len(labels)} samples; {self.outputs}{size}")
        if isinstance(outputs, Mapping) or len(outputs) < 2:
            return
        found, wanted = outputs[1], self.width(labels, names)
        if found is not None and found < wanted:
            told = f"labels go up to {wanted - 1}: there are {wanted} classes" if self.by_class else f"needs {wanted}"
            raise BadInputError(f"{who} puts out {found} values per sample, but {told}")

    def labelled(self, labels: Array) -> Array:
        """Return which samples (N,) have a label."""
        return np.ones(len(labels), bool)

    def strata(self, labels: Array) -> Array:
        """Return of which kind (N,) each sample is; a validation split takes its share of every kind."""
        return np.zeros(len(labels), np.int64)

    def chance(self, labels: Array) -> tuple[float, float]:
        """Return what the metric is worth without looking at inputs, and that number's standard error."""
        outputs = each(self.constant(labels), lambda best: np.broadcast_to(best, (len(labels), *np.shape(best))))
        rows = self.metric.rows(outputs, labels)
        return self.metric.score(rows), self.metric.standard_error(rows)


def refuse(where: str, wanted: str, found: Array) -> BadInputError:
    """Return the error for labels of another kind or shape."""
    return BadInputError(f"{where} must hold {wanted}, not {found.dtype} {found.shape}")


def require_finite(labels: Array, where: str, wanted: str, axes: Sequence[int]) -> Array:
    """Return numbers with so many `axes` as float32; BadInputError, naming the sample, where one is not finite."""
    if labels.ndim not in axes or labels.dtype.kind not in "iuf":
        raise refuse(where, wanted, labels)
    values: Array = labels.astype(np.float32)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise BadInputError(f"{where} is not finite in sample {int(finite.argmin())}: it must hold {wanted}")
    return values


def require_classes(labels: Array, where: str, width: int | None, ignore: int | None = None) -> None:
    """Raise BadInputError, naming the sample, where integer labels (N, …) are no class indices below `width`."""
    wrong = (labels < 0) | (labels >= (MOST_CLASSES if width is None else width))
    if ignore is not None:
        wrong &= labels != ignore
    if wrong.any():
        sample = int(wrong.reshape(len(labels), -1).any(axis=1).argmax())
        known = "class indices start at 0" if width is None else f"there are the classes 0 to {width - 1}"
        but = "" if ignore is None else f", and {ignore} is ignored"
        raise BadInputError(f"{where} holds {labels[wrong][0]} in sample {sample}; {known}{but}")


def require_no_gap(found: Array, unit: str, source: str) -> tuple[str, ...]:
    """Return the names of classes (C,), sorted, that are their numbers; BadInputError unless these are 0 to C - 1."""
    missing = np.flatnonzero(found != np.arange(len(found)))
    if len(missing):
        raise BadInputError(
            f"{source}: no {unit} of y_train has class {missing[0]}, but some have {found[-1]}: number classes "
            "without gaps, or name them all in classes"
        )
    return tuple(map(str, found))


def require_width(labels: Array, where: str, width: int | None) -> Array:
    """Return labels (N, k, …); BadInputError unless k is the `width`, where that is known."""
    if width not in (None, labels.shape[1]):
        raise BadInputError(f"{where} holds {labels.shape[1]} values per sample; there are {width} outputs")
    return labels


def require_names(given: Sequence[str] | None, count: int, source: str) -> tuple[str, ...]:
    """Return the names, numbers where none are given; BadInputError unless there is one for each of `count`."""
    if given is not None and len(given) != count:
        raise BadInputError(f"{source}: {len(given)} names for {count} outputs")
    return tuple(given) if given is not None else tuple(map(str, range(count)))
