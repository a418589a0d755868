"""Gradients of a batch that is too large to be seen at once."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from torch import Tensor

from edgekd.errors import BadInputError
from edgekd.networks import each
from edgekd.training.batches import Batch

Losses = dict[str, Tensor]


def micro_batches(batch: Batch, parts: int, group_size: int = 1) -> list[Batch]:
    """A batch in at most `parts` nearly equal pieces; `group_size` neighbouring rows stay together."""
    units = len(batch.labels) // group_size
    bounds = [group_size * (units * part // parts) for part in range(parts + 1)]
    return [_rows(batch, slice(start, end)) for start, end in pairwise(bounds) if end > start]


def accumulate_gradients(
    micro: list[Batch], rows: int, objective: Callable[[Batch], tuple[Tensor, Losses]]
) -> dict[str, Tensor]:
    """Add the gradients of the mean loss of `rows` samples, and return it and its terms, summed over the pieces.

    Exact for a loss that is a mean over samples. What looks at a whole batch (batch norm, the relations between
    samples) sees a piece. Raises BadInputError where nothing that trains has a share in the loss.
    """
    losses: Losses = {}
    for part in micro:
        share = len(part.labels) / rows
        loss, terms = objective(part)
        if not loss.requires_grad:
            raise BadInputError(
                "the loss does not depend on any parameter: what the network puts out is detached, or whole numbers"
            )
        (loss * share).backward()  # type: ignore[no-untyped-call]
        for name, value in {"loss": loss, **terms}.items():
            losses[name] = losses.get(name, 0.0) + value.detach() * share
    return losses


def _rows(batch: Batch, rows: slice) -> Batch:
    inputs = each(batch.inputs, lambda value: value[rows])
    return replace(batch, inputs=inputs, labels=batch.labels[rows], indices=batch.indices[rows])
