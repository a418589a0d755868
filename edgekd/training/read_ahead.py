"""Samples that are not in memory, read by torch's worker processes while the network trains."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from edgekd.data.sources import Array, Rows, worker_lost
from edgekd.errors import BadInputError


def read_ahead(rows: Array | Rows, batches: Sequence[Array]) -> Iterator[Array]:
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
        yield found.numpy() if rows.dtype.names is None else found.numpy().view(rows.dtype).ravel()


@dataclass(frozen=True)
class _Failure:
    """What is wrong with a batch; an exception would come back as a page of traceback."""

    reason: str


@dataclass(frozen=True, eq=False)
class _Reader(torch.utils.data.Dataset[Tensor | _Failure]):
    rows: Rows

    def __getitem__(self, batch: NDArray[int]) -> Tensor | _Failure:  # type: ignore[type-var]
        try:
            found = self.rows[batch]
            return torch.from_numpy(found if found.dtype.names is None else _as_bytes(found))
        except BadInputError as error:
            return _Failure(str(error))


def _alive(loader: DataLoader[Any]) -> Iterator[Any]:
    """What the workers read; BadInputError where one of them was killed."""
    try:
        yield from loader
    except RuntimeError as error:
        raise worker_lost(error) or error from error


def _as_bytes(samples: Array) -> Array:
    """Samples of several inputs (N,) as bytes (N, …): torch knows no structured arrays."""
    return samples.view(np.uint8).reshape(len(samples), samples.dtype.itemsize)


def _itself(found: Any) -> Any:
    return found


def _leave_interrupts_to_main(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
