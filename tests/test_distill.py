"""`edgekd.distill` and what it returns, continues and refuses, on networks of a few numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgekd
from edgekd.data import as_dataset
from edgekd.distillation.crd import Negatives
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from edgekd.training import Teacher, Teachers
from edgekd.training.batches import Batches
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


def test_a_layer_that_no_teacher_has_is_one_line() -> None:
    for method in (edgekd.Hint({"body": "1/body"}), edgekd.PKT({"body": "1/body"})):
        with pytest.raises(BadInputError, match="no teacher shows '1/body'"):
            edgekd.distill(Net(8, 1), Net(4, 0), DATA, [method], training=BRIEF)


class Words(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.pooled, self.head = nn.Embedding(20, 8), nn.Identity(), nn.Linear(8, 2)

    def forward(self, tokens: torch.Tensor) -> Any:
        return self.head(self.pooled(self.embed(tokens).mean(1)))


def test_a_layer_without_tokens_is_one_line() -> None:
    tokens = RANDOM.integers(1, 20, (40, 5)), DATA[0][1]
    with pytest.raises(BadInputError, match=r"hidden: IndexError.*student 'pooled' \(16, 8\)"):
        edgekd.distill(Words(1), Words(0), (tokens, tokens), [edgekd.Hidden({"pooled": "pooled"})], training=BRIEF)


def painted(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 2, 1))


@pytest.mark.parametrize("method", [edgekd.CRD("0", "0", dimension=4), edgekd.Mutual()])
def test_methods_that_look_at_labels_teach_maps(method: Any) -> None:
    images = RANDOM.integers(0, 255, (24, 1, 8, 8)).astype(np.uint8), RANDOM.integers(0, 2, (24, 8, 8))
    student = painted(0)
    before = weights(student).clone()
    edgekd.distill(painted(1), student, (images, images), [method], task="segmentation", training=BRIEF)
    assert weights(student).isfinite().all()
    assert not torch.equal(weights(student), before)


def test_numbers_of_classes_may_be_any_to_a_memory() -> None:
    labels = torch.tensor([-5, 10**15, -5, 10**15])
    negatives = Negatives(labels)
    drawn = negatives.draw(torch.arange(4), 16)
    assert (labels[drawn] != labels[:, None]).all()


def test_teachers_of_unlike_classes_are_one_line() -> None:
    batch = Batches(as_dataset(DATA), Data(name="numbers"), 4, 0, torch.device("cpu")).at(np.arange(4), 0)
    other = Net(8, 2)
    other.head = nn.Linear(8, 3)
    with pytest.raises(BadInputError, match=r"teachers put out \(2,\) and \(3,\) per sample.*map_classes"):
        Teachers([Teacher(Net(8, 1)), Teacher(other)]).ask(batch)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor, shift: torch.Tensor | None = None) -> Any:
        return self.head(x if shift is None else x + shift)


def test_peers_see_all_that_the_student_sees() -> None:
    inputs, labels = {"x": torch.randn(4, 6), "shift": torch.randn(4, 6)}, torch.tensor([0, 1, 0, 1])
    student, seen = Two(), []
    with edgekd.Distiller(Two(), student, [edgekd.Mutual()], samples=inputs, labels=labels) as distiller:
        peer = next(module for module in distiller.built.modules() if isinstance(module, Two))
        peer.register_forward_pre_hook(lambda _, __, named: seen.append(set(named)), with_kwargs=True)
        student(**inputs)
        distiller(inputs, labels=labels)
    assert seen == [{"x", "shift"}]


def test_the_average_is_of_all_that_is_deployed() -> None:
    once = BRIEF.model_copy(update={"epochs": 1})
    plain, average = (
        edgekd.distill(Net(16, 1), Net(4, 0), DATA, [edgekd.SimKD()], training=how)
        for how in (once, once.model_copy(update={"ema": 0.99}))
    )
    for layer in ("body.0.weight", "head.0.weight"):
        assert not torch.equal(plain.get_parameter(layer), average.get_parameter(layer))
