"""`edgekd.distill` and what it returns, continues and refuses, on networks of a few numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgekd
from edgekd.errors import BadInputError
from edgekd.training.weights import weights_digest

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 6)).astype(np.float32)
DATA = (X, (X[:, 0] > 0).astype(np.int64)), (X, (X[:, 0] > 0).astype(np.int64))
BRIEF = edgekd.Training(epochs=2, batch=16, precision="float32")


class Net(nn.Module):
    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(6, width), nn.ReLU())
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.body(x))


class Samples(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        return X[index], int(X[index, 0] > 0)


def weights(network: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(network.parameters())


def taught(folder: Path, teacher: int, data: Any = DATA) -> nn.Module:
    return edgekd.distill(Net(8, teacher), Net(4, 0), data, training=BRIEF, folder=folder)


def test_a_folder_does_not_hand_on_what_another_teacher_taught(tmp_path: Path) -> None:
    first, second = taught(tmp_path, teacher=1), taught(tmp_path, teacher=2)
    assert not torch.equal(weights(first), weights(second))


def test_a_torch_data_set_is_known_again(tmp_path: Path) -> None:
    first, again = (Samples(), Samples()), (Samples(), Samples())
    taught(tmp_path, 1, first)
    before = (tmp_path / "checkpoint.json").stat().st_mtime_ns
    taught(tmp_path, 1, again)
    assert (tmp_path / "checkpoint.json").stat().st_mtime_ns == before  # nothing was trained again


def test_networks_prepared_for_two_schemes_are_told_apart() -> None:
    asymmetric, symmetric = (edgekd.prepare(Net(4, 0), scheme, X) for scheme in ("int8-asymmetric", "int8-symmetric"))
    assert weights_digest(asymmetric) != weights_digest(symmetric)


def test_what_is_returned_has_the_head_that_was_evaluated() -> None:
    teacher = edgekd.train(Net(16, 1), DATA, training=BRIEF)
    student = Net(4, 0)
    found = edgekd.distill(teacher, student, DATA, [edgekd.SimKD()], cross_entropy=0, training=BRIEF)
    assert torch.equal(found.head[1].weight, teacher.head.weight)
    assert found.body is student.body


@pytest.mark.parametrize("teach", [edgekd.distill, edgekd.Distiller])
def test_several_generations_are_left_to_recipes(teach: Any) -> None:
    data = () if teach is edgekd.Distiller else (DATA,)
    with pytest.raises(BadInputError, match=r"teaches 3 students.*BornAgain\(generations=1\)"):
        teach(Net(8, 1), Net(4, 0), *data, losses=[edgekd.BornAgain(generations=3)])
    teach(Net(8, 1), Net(4, 0), *data, losses=[edgekd.BornAgain(generations=1)])
