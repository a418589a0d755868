"""The average follows fast at first, then as slowly as its decay says."""

import pytest
import torch
from torch import nn

from edgekd.training.average import Average


def test_after_t_updates_the_decay_is_the_smaller_of_both():
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0)
        average = Average(model, 0.5)
        model.weight.fill_(1)
        expected = 0.0
        for step in range(20):
            average.update(model, step)
            decay = min(0.5, (1 + step) / (10 + step))  # 0.5 from step 8 on
            expected = decay * expected + (1 - decay)
            assert average.values["weight"].item() == pytest.approx(expected, rel=1e-6)  # float32
