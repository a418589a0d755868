"""A batch in pieces is the batch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgekd.distillation.kd import KD
from edgekd.progress import SILENT
from edgekd.recipe import Training
from edgekd.training import Distill, Teacher, train
from edgekd.training.accumulate import micro_batches
from edgekd.training.batches import Batch


@given(st.integers(1, 40), st.integers(1, 12), st.sampled_from([1, 2]))
def test_pieces_are_the_rows_in_order_and_nearly_equal(units, parts, group_size):
    rows = torch.arange(units * group_size)
    pieces = micro_batches(Batch(rows.float()[:, None], rows, rows, view=1), parts, group_size)
    assert len(pieces) == min(parts, units)
    assert torch.equal(torch.cat([piece.indices for piece in pieces]), rows)
    assert torch.equal(torch.cat([piece.inputs[:, 0] for piece in pieces]), rows.float())
    sizes = {len(piece.labels) for piece in pieces}
    assert max(sizes) - min(sizes) <= group_size
    assert all(size % group_size == 0 for size in sizes)
    assert {piece.view for piece in pieces} == {1}


@pytest.mark.parametrize("accumulate", [2, 3, 5, 64])  # 32 does not divide by 3 and 5
def test_without_batch_norm_the_training_is_the_same(tmp_path, blobs, recipe_data, accumulate):
    """1e-5 relative: only the order of float32 sums differs, over 18 steps."""

    def learn(pieces):
        torch.manual_seed(0)
        student, teacher = (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(144, 3)) for _ in range(2)
        )
        settings = Training(epochs=3, batch=32, accumulate=pieces, clip=1.0, precision="float32")
        folder = tmp_path / str(pieces)
        objective = Distill(student, Teacher(teacher, precision="float32"), [KD()])
        trained = train(student, blobs(), recipe_data, settings, objective, folder, seed=1, key="k", reporter=SILENT)
        return trained.history

    for whole, pieces in zip(learn(1), learn(accumulate), strict=True):
        assert pieces["loss"] == pytest.approx(whole["loss"], rel=1e-5)
        assert pieces["terms"] == pytest.approx(whole["terms"], rel=1e-5)
        assert pieces["learning_rate"] == whole["learning_rate"]
