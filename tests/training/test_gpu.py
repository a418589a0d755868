"""Where torch finds a GPU, every test that trains uses it; this asks whether it does, and how well."""

import json

import pytest
import torch

from edgekd.training.processes import process_group
from tests.launched import finish, launch
from tests.training import group_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU that torch can use"),
]


def test_a_gpu_follows_the_loss_curve_of_the_cpu(tmp_path):
    """1 % over 20 steps: the teacher answers in bfloat16 there, of 8 bits, which moved these losses by 0.06 %."""
    group_run.main(tmp_path / "gpu", pause=0)
    assert process_group().device.type == "cuda"
    assert [status for status, *_ in finish(launch(group_run.__file__, tmp_path / "cpu", size=1))] == [0]
    gpu, cpu = (json.loads((tmp_path / name / "process-0.json").read_text())["losses"] for name in ("gpu", "cpu"))
    assert len(gpu) == 20
    assert gpu == pytest.approx(cpu, rel=0.01)
