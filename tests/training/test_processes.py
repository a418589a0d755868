"""Two processes train as one does, stop together, and fail together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from edgekd.training.checkpoint import load_checkpoint
from edgekd.training.weights import read_tensors
from tests.launched import finish, launch
from tests.training import group_run

SCRIPT = Path(group_run.__file__)
LAUNCHER = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What two processes of `accelerate launch` leave."""
    folder = tmp_path_factory.mktemp("unbroken")
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}  # NCCL refuses two on one GPU
    ended = subprocess.run(
        [*LAUNCHER, SCRIPT, folder], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return folder


def left(folder, number):
    found = json.loads((folder / f"process-{number}.json").read_text())
    return found["processes"], found["losses"], read_tensors(folder / f"process-{number}.safetensors")


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.long
def test_two_processes_follow_the_loss_curve_of_one(unbroken, tmp_path):
    """1e-4 relative over 20 steps is the promise; float32 sums in another order give some 1e-6."""
    group_run.main(tmp_path, 0.0)
    alone, one, _ = left(tmp_path, 0)
    (main, two, weights), (other, same, copies) = left(unbroken, 0), left(unbroken, 1)
    assert (alone, main, other) == (1, 2, 2)
    assert len(one) == 20
    assert two == pytest.approx(one, rel=1e-4)
    assert one[-1] < one[0] / 2
    assert same == two
    assert equal(weights, copies)


@pytest.mark.long
def test_one_interrupted_process_stops_all_and_resumed_they_end_with_equal_weights(unbroken, tmp_path):
    group = launch(SCRIPT, tmp_path, 0.05)
    deadline = time.monotonic() + 120
    while load_checkpoint(tmp_path, "k") is None:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in group)
        time.sleep(0.01)
    group[1].send_signal(signal.SIGTERM)
    assert all("KeyboardInterrupt" in errors for _, _, errors in finish(group))
    position, _ = load_checkpoint(tmp_path, "k")
    assert 1 <= position.step < 20
    ended = finish(launch(SCRIPT, tmp_path))
    assert [status for status, *_ in ended] == [0, 0], ended
    for number in (0, 1):
        assert left(tmp_path, number)[1] == left(unbroken, number)[1]
        assert equal(left(tmp_path, number)[2], left(unbroken, number)[2])


MESSAGES = """
import atexit, sys
from pathlib import Path

def tell():  # runs after what is registered later
    own = Path("/proc/self/comm").read_text()
    others = {name for task in Path("/proc/self/task").glob("*/comm") if (name := task.read_text()) != own}
    print("threads", sorted(others))

atexit.register(tell)
import torch
from torch import nn
from edgekd.errors import EdgekdError
from edgekd.training.processes import process_group
group = process_group()

def try_on_main(work):
    try:
        print(group.run_on_main(work))
    except (EdgekdError, KeyboardInterrupt, ZeroDivisionError) as error:
        print(type(error).__name__, error)

def interrupt():
    raise KeyboardInterrupt

try_on_main(lambda: 1 / 0)
try_on_main(interrupt)
try_on_main(lambda: group.run_on_main(lambda: {"leader": group.number}))  # within, the main process is alone
print(group.any(group.number == 1), group.any(False))

wide = nn.Parameter(torch.zeros(1, 2, 3, 3).to(memory_format=torch.channels_last))
mine, nobodys = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
wide.grad = torch.arange(18.).view(1, 2, 3, 3).to(memory_format=torch.channels_last) * (group.number + 1)
if group.number:
    mine.grad = torch.ones(2)
print(group.sum_gradients([wide, mine, nobodys], [torch.tensor(1.5), float(group.number)]))
print(torch.equal(wide.grad, 3 * torch.arange(18.).view(1, 2, 3, 3)), mine.grad.tolist(), nobodys.grad)

number, flag = torch.tensor(group.number), torch.tensor([group.number == 0])
tensors = [torch.full((3,), group.number + 1, dtype=torch.uint8), torch.full((2, 2), group.number + 0.5)]
tensors += [number, flag, torch.zeros(0)]
group.share(tensors)
print([tensor.tolist() for tensor in tensors])
torch.optim.SGD([wide])  # imports much of torch.distributed
sys.exit(group.number)
"""


def test_what_processes_tell_each_other_and_how_they_end():
    """No thread of the group's outlives it: it aborts an interpreter that is ending, once in some hundred launches."""
    common = [
        "{'leader': 0}",
        "True False",
        "[3.0, 1.0]",
        "True [1.0, 1.0] None",
        "[[1, 1, 1], [[0.5, 0.5], [0.5, 0.5]], 0, [True], []]",
        "threads []",
    ]
    failures = [
        ["ZeroDivisionError division by zero", "KeyboardInterrupt "],
        ["MainProcessError the main process has stopped: ZeroDivisionError: division by zero", "KeyboardInterrupt "],
    ]
    for number, (status, said, trouble) in enumerate(finish(launch("-c", MESSAGES))):
        assert (status, said.splitlines()) == (number, [*failures[number], *common]), trouble
