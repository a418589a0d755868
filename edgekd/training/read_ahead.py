"""Samples that are not in memory, read by torch's worker processes while the network trains."""

import math
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from edgekd.data._picked import Picked
from edgekd.data.sources import Array, Rows, worker_lost
from edgekd.errors import BadInputError


def read_ahead(rows: Array | Picked | Rows, batches: Sequence[Array]) -> Iterator[Array]:
    """Yield the inputs of batches, given by row numbers, in their order, whatever the number of workers.

    Raises BadInputError, naming the sample, where one cannot be read or has another shape.
    """
    if not isinstance(rows, Rows) or not rows.workers:
        yield from (rows[batch] for batch in batches)
        return
    loader = DataLoader(
        _Reader(rows), batch_size=None, sampler=list(batches), num_workers=rows.workers, collate_fn=_itself,
        worker_init_fn=_leave_interrupts_to_main, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    for found in _alive(loader):
        if isinstance(found, _Failure):
            raise BadInputError(found.reason)
        yield _as_array(found, rows)


@dataclass(frozen=True)
class _Failure:
    """What is wrong with a batch; an exception would come back as a page of traceback."""

    reason: str


@dataclass(frozen=True, eq=False)
class _Reader(torch.utils.data.Dataset[Tensor | _Failure]):
    rows: Rows

    def __getitem__(self, batch: NDArray[int]) -> Tensor | _Failure:  # type: ignore[type-var]
        try:
            size = self.rows.dtype.itemsize * math.prod(self.rows.sample_shape)
            shared = torch.empty((len(batch), size), dtype=torch.uint8)
            shared.share_memory_()  # type: ignore[no-untyped-call]  # or it would be copied there
            self.rows.fill(_as_array(shared, self.rows), self.rows.places[batch])
            return shared
        except BadInputError as error:
            return _Failure(str(error))


def _alive(loader: DataLoader[Any]) -> Iterator[Any]:
    """What the workers read; BadInputError where one of them was killed."""
    try:
        yield from loader
    except RuntimeError as error:
        raise worker_lost(error) or error from error


def _as_array(stored: Tensor, rows: Rows) -> Array:
    """Bytes (N, …) as the samples that they are: torch knows no structured arrays."""
    samples: Array = stored.numpy().view(rows.dtype).reshape(len(stored), *rows.sample_shape)
    return samples


def _itself(found: Any) -> Any:
    return found


def _leave_interrupts_to_main(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
