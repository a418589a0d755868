"""Several processes that train one model, on one machine or several.

`accelerate launch --multi_gpu --num_processes 2 …` or `torchrun --nproc_per_node 2 …` start them, on CPUs too.

Each process takes its share of every batch; gradients, losses and interrupts are summed in one message after the
backward pass. A wrapper such as DistributedDataParallel would rename the modules that taps look for, would have to be
told of parameters that a loss leaves out, and would hide the graphs that quantisation rewrites; a sum needs none of it.

What looks at a whole batch (batch norm, the relations between samples) sees a process's share of it: batch / processes.
Buffers (batch norm's statistics, quantisers' ranges, memory banks) are the main process's, sent after every step: an
average would mix a scale with another's zero point, and a less frequent one would tie the weights to the clock that
decides on checkpoints. Several machines need the run folder, and the data, in a place that all see.
"""

import atexit
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import cache
from typing import cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, broadcast_object_list, parse_flag_from_env, reduce
from torch import Tensor, nn

from edgekd.process_group import MainProcessError, ProcessGroup, T
from edgekd.training.determinism import let_cublas_repeat

if torch.distributed.is_available():
    # Optimizers import it, and its functions' defaults keep alive whatever group exists by then.
    import torch.distributed.nn.functional

# How long the others wait for the main process, which may be timing devices; a crash ends them at once all the same.
PATIENCE = timedelta(days=7)
ONE = (
    "`accelerate launch --cpu` has started one process only (it leaves more to mpirun, --mpirun_hostfile): "
    "use `accelerate launch --multi_gpu --num_processes N` or `torchrun --nproc_per_node N`, on CPUs too"
)


class Processes(ProcessGroup):
    """All processes of this launch; mostly one."""

    def __init__(self) -> None:
        let_cublas_repeat()
        state = PartialState(cpu=_on_cpu(), timeout=PATIENCE)
        self.number, self.size = int(state.process_index), int(state.num_processes)
        self.device: torch.device = state.device
        self._leading = False
        if self.size > 1:  # or gloo's threads, which hand tensors back, would abort an interpreter that is ending
            atexit.register(state.destroy_process_group)
        if self.size == 1 and _meant_several():
            warnings.warn(ONE, stacklevel=2)

    def run_on_main(self, work: Callable[[], T]) -> T:
        """See `ProcessGroup.lead`."""
        if self.size == 1 or self._leading:
            return work()
        if not self.is_main:
            return cast("T", self._follow())
        self._leading = True
        try:
            result = work()
        except BaseException as error:
            broadcast_object_list([None, f"{type(error).__name__}: {error}", isinstance(error, KeyboardInterrupt)])
            raise
        finally:
            self._leading = False
        broadcast_object_list([result, None, False])
        return result

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[nn.Parameter], numbers: Sequence[Tensor | float]) -> list[float]:
        """Sum gradients, in place, and scalars over all processes; a gradient that nobody has stays None."""
        if self.size == 1:
            return [float(number) for number in numbers]
        owned = [float(parameter.grad is not None) for parameter in parameters]
        head = torch.tensor([*owned, *map(float, numbers)], device=self.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        sizes = [len(head), *(gradient.numel() for gradient in gradients)]
        message = torch.cat([head, *(gradient.reshape(-1).float() for gradient in gradients)])
        head, *sums = reduce(message, "sum").split(sizes)
        totals: list[float] = head.tolist()
        for parameter, gradient, total, owners in zip(parameters, gradients, sums, totals, strict=False):
            if owners:
                parameter.grad = gradient.copy_(total.view_as(gradient))
        return totals[len(owned) :]

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in some process."""
        return self.sum_gradients((), [flag])[0] > 0

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with the main process's, in one message of bytes."""
        aligned = sorted(tensors, key=Tensor.element_size, reverse=True)
        if self.size == 1 or not aligned:
            return
        contents = [tensor.reshape(-1).view(torch.uint8) for tensor in aligned]
        sizes = [len(content) for content in contents]
        message = broadcast(torch.cat(contents))
        for tensor, content in zip(aligned, message.split(sizes), strict=True):
            tensor.copy_(content.view(tensor.dtype).view(tensor.shape))

    def _follow(self) -> object:
        result, failure, interrupted = broadcast_object_list([None, None, False])
        if interrupted:
            raise KeyboardInterrupt
        if failure is not None:
            raise MainProcessError(f"the main process has stopped: {failure}")
        return result


@cache
def process_group() -> Processes:
    """The processes of this launch."""
    return Processes()


def _meant_several() -> bool:
    """Whether accelerate's simple launcher was asked for several processes: it then says where they would meet."""
    launched = parse_flag_from_env("ACCELERATE_USE_CPU") and "MASTER_ADDR" in os.environ
    return launched and not {"RANK", "LOCAL_RANK", "WORLD_SIZE"} & os.environ.keys()


def _on_cpu() -> bool:
    """Whether the CPU was asked for, or launched processes have nothing else that they could talk through."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    alone = accelerator is None or accelerator.type == "mps"
    return bool(parse_flag_from_env("ACCELERATE_USE_CPU")) or ("LOCAL_RANK" in os.environ and alone)
