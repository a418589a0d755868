"""The teacher's answers to a batch, computed on the spot."""

from collections.abc import Sequence
from typing import Protocol, Self

import torch
from torch import nn

from edgekd.distillation import Method, Output
from edgekd.errors import BadInputError
from edgekd.outputs import first, one
from edgekd.training.batches import Batch, Batches
from edgekd.training.precision import Precision, place_model, runner
from edgekd.training.taps import Taps


class TeacherSource(Protocol):
    """Whatever can say what the teacher makes of a batch."""

    @property
    def model(self) -> nn.Module:
        """The network itself; of several, the first."""

    def ask(self, batch: Batch) -> Output:
        """What `outputs` gives, for any batch and before `prepare`."""

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Get ready for the samples and views that training will show."""

    def outputs(self, batch: Batch) -> Output:
        """Float32 logits and features, without gradients, on the batch's device."""


class Teacher:
    """A network in evaluation mode that runs for every batch; `taps` and `names`: features and outputs wanted of it."""

    def __init__(
        self, model: nn.Module, taps: Sequence[str] = (), precision: Precision = "auto", names: Sequence[str] = ()
    ) -> None:
        self.model, self.taps, self.precision, self.names = model.eval(), tuple(taps), precision, tuple(names)

    @classmethod
    def of(cls, model: nn.Module, methods: Sequence[Method], number: int = 0) -> Self:
        """The teacher so numbered, for all that some method needs of it."""
        return cls(model, teacher_taps(methods, number), names=output_names(methods))

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Move to the device."""
        place_model(self.model, batches.device, batches.data.train.inputs.ndim)

    def ask(self, batch: Batch) -> Output:
        """Move to the batch's device and answer."""
        place_model(self.model, batch.device, batch.axes)
        return self.outputs(batch)

    @torch.no_grad()
    def outputs(self, batch: Batch) -> Output:
        """Float32 logits and features of one forward pass."""
        self.model.eval()
        with Taps(self.model, self.taps) as taps:
            outputs = runner(self.model, self.precision, batch.device)(batch.inputs)
        logits = one(outputs, first(batch.task.reads), "the task", "the teacher")
        named = {name: one(outputs, name, "a method", "the teacher") for name in self.names}
        return Output(logits, {name: feature.float() for name, feature in taps.features.items()}, named=named)


class Teachers:
    """Several teachers at once: the mean of their logits, each one's own output in `members`.

    A tap of the second one is written `1/name`; without a number it is the first one's.
    """

    def __init__(self, sources: Sequence[TeacherSource]) -> None:
        self._sources = tuple(sources)

    @property
    def model(self) -> nn.Module:
        """The first teacher."""
        return self._sources[0].model

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Let each get ready."""
        for source in self._sources:
            source.prepare(batches, views)

    def ask(self, batch: Batch) -> Output:
        """All their answers, before `prepare`."""
        return _together([source.ask(batch) for source in self._sources])

    def outputs(self, batch: Batch) -> Output:
        """All their answers."""
        return _together([source.outputs(batch) for source in self._sources])


def output_of(method: Method) -> str | None:
    """The output that a method reads by name; None for the one that the task reads."""
    name: str | None = getattr(method, "output", None)
    return name


def output_names(methods: Sequence[Method]) -> tuple[str, ...]:
    """Every output that some method reads by name, once."""
    found = map(output_of, methods)
    return tuple(dict.fromkeys(name for name in found if name is not None))


def teacher_taps(methods: Sequence[Method], number: int = 0) -> tuple[str, ...]:
    """Every tap that some method needs of the teacher so numbered, once."""
    taps = dict.fromkeys(tap for method in methods for tap in method.teacher_taps)
    return tuple(_without_number(tap) for tap in taps if _number(tap) == number)


def _together(members: Sequence[Output]) -> Output:
    features = {
        f"{number}/{tap}": value for number, member in enumerate(members) for tap, value in member.features.items()
    }
    shapes = dict.fromkeys(tuple(member.logits.shape[1:]) for member in members)
    if len(shapes) > 1:
        raise BadInputError(
            f"the teachers put out {' and '.join(map(str, shapes))} per sample: all must know the same classes in the "
            "same order: edgekd.map_classes(teacher, its names, data) maps them"
        )
    logits = torch.stack([member.logits for member in members]).mean(0)
    named = {name: torch.stack([member.named[name] for member in members]).mean(0) for name in members[0].named}
    return Output(logits, features | dict(members[0].features), tuple(members), named)


def _number(tap: str) -> int:
    number, slash, _ = tap.partition("/")
    return int(number) if slash and number.isdecimal() else 0


def _without_number(tap: str) -> str:
    number, slash, name = tap.partition("/")
    return name if slash and number.isdecimal() else tap
