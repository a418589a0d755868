"""The teacher's answers to a batch, computed on the spot."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from edgekd.distillation import Method, Output
from edgekd.training.batches import Batch, Batches
from edgekd.training.precision import Precision, place_model, runner
from edgekd.training.taps import Taps


class TeacherSource(Protocol):
    """Whatever can say what the teacher makes of a batch."""

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Get ready for the samples and views that training will show."""

    def outputs(self, batch: Batch) -> Output:
        """Float32 logits and features, without gradients, on the batch's device."""


class Teacher:
    """A network in evaluation mode that runs for every batch; `taps` names the features wanted of it."""

    def __init__(self, model: nn.Module, taps: Sequence[str] = (), precision: Precision = "auto") -> None:
        self.model, self.taps, self.precision = model.eval(), tuple(taps), precision

    def prepare(self, batches: Batches, views: Sequence[int]) -> None:
        """Move to the device."""
        place_model(self.model, batches.device, batches.data.train.inputs.ndim)

    @torch.no_grad()
    def outputs(self, batch: Batch) -> Output:
        """Float32 logits and features of one forward pass."""
        self.model.eval()
        with Taps(self.model, self.taps) as taps:
            logits = runner(self.model, self.precision, batch.inputs.device)(batch.inputs)
        return Output(logits, {name: feature.float() for name, feature in taps.features.items()})


def teacher_taps(methods: Sequence[Method]) -> tuple[str, ...]:
    """Every tap of the teacher that some method needs, once."""
    return tuple(dict.fromkeys(tap for method in methods for tap in method.teacher_taps))
