"""What comes in to be taught: the splits of one data set suit each other, and what is taught is said, never guessed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import edgekd
from edgekd.bundle import Preprocessing
from edgekd.data import Dataset, Split, as_dataset, prepare
from edgekd.errors import BadInputError
from edgekd.tasks.classification import Classification
from tests.pairs import load as pairs
from tests.small_run import complaint, write_recipe
from tests.small_run import edgekd as edgekd_cli

X = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
Y = np.arange(60) % 3
FEATURES = np.random.default_rng(1).normal(size=(60, 6)).astype(np.float32)


def refused(data: Any) -> str:
    with pytest.raises(BadInputError) as caught:
        as_dataset(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("train", "test"),
    [(X, X / np.float32(255)), (X / np.float32(255), X), (X, X > 127), (FEATURES, 100 * FEATURES)],
)
def test_splits_in_two_number_formats_are_refused(train: Any, test: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "x_test goes from" in refused(((train, Y), (test, Y)))
    taken = as_dataset(((train, Y), (test, Y)), any_range=True)
    assert "warning: data 'data': x_test goes from" in capsys.readouterr().err
    np.testing.assert_array_equal(taken.test.inputs, test)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64, np.float32, np.float64])
def test_the_same_numbers_come_to_the_model_alike(kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    other = X[:, :, ::-1]
    expected, found = as_dataset(((X, Y), (other, Y))), as_dataset(((X, Y), (other.astype(kind), Y)))
    inputs = [prepare(data.test.inputs, data.preprocessing) for data in (expected, found)]
    np.testing.assert_array_equal(*inputs)
    assert capsys.readouterr().err == ""


def test_odd_but_honest_splits_are_warned_of_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    wider, zeros = 1.5 * FEATURES, np.zeros_like(FEATURES)
    for train, test in ((FEATURES, wider), (FEATURES, zeros), (zeros, FEATURES), (FEATURES, FEATURES[:1])):
        as_dataset(((train, Y), (test, Y[: len(test)])))
    assert capsys.readouterr().err.count("warning") >= 3  # all but, perhaps, the single sample


@pytest.mark.parametrize("known", [0, 1, 2, 60])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_test_samples_that_were_taught_are_told(known: int, kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """More than one in a hundred; to the networks, floats are float32."""
    new = np.random.default_rng(2).integers(0, 256, (140, 1, 8, 8), dtype=np.uint8)
    test = np.concatenate([new[: 100 - known], X[:known]]).astype(kind)
    val = new[100:].astype(kind), Y[:40]
    data = as_dataset(((X.astype(kind), Y), val, (test, np.arange(100) % 3)))
    told = f"warning: data 'data': {known} of 100 samples of x_test are in x_train, too: they test memory, not skill"
    assert (told in capsys.readouterr().err) is (known > 1)
    assert len(data.test) == 100


def test_values_far_from_zero_are_normalised_or_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Six digits of a mean of 101325 are 0.8 deviations here; seconds since 1970 are steps of 128 in float32."""
    random = np.random.default_rng(4)
    for offset, spread, told in ((101_325.37, 0.5, False), (1.7e9, 3600.0, True), (1e8, 0.0, False)):
        values = [offset + spread * random.normal(size=(60, 2)) for _ in range(3)]
        data = as_dataset(tuple((x, Y) for x in values))
        if not told:
            assert abs(prepare(data.train.inputs, data.preprocessing).mean()) < 0.02  # float32 steps: 0.008 of 0.5
        found = capsys.readouterr().err
        assert ("float32 keeps steps of 1.3e+02: subtract what all samples have in common" in found) is told


def test_a_sentence_may_stand_in_another_pair(capsys: pytest.CaptureFixture[str]) -> None:
    tokens = np.random.default_rng(3).integers(1, 90, (40, 9))
    scores = np.linspace(0, 1, 20).repeat(2)
    rolled = np.roll(tokens, 1, axis=0)
    as_dataset(((tokens, scores), (rolled, scores), (rolled, scores)), task="sentence-pairs")
    assert capsys.readouterr().err == ""
    as_dataset(((tokens, scores), (rolled, scores), (tokens, scores)), task="sentence-pairs")
    assert "20 of 20 pairs of x_test are in x_train" in capsys.readouterr().err


def test_tokens_and_numbers_are_not_mixed() -> None:
    tokens = np.arange(360).reshape(60, 6)
    assert "tokens" in refused(((tokens, Y), (tokens.astype(np.float32), Y)))
    assert "tokens" in refused(((FEATURES, Y), (tokens, Y)))
    assert "holds the token -1" in refused(((tokens - 1, Y), (tokens, Y)))


def test_a_recipe_s_data_come_in_by_the_same_door(tmp_path: Any) -> None:
    recipe, data = write_recipe(tmp_path)
    arrays = dict(np.load(data))
    np.savez(data, **arrays | {"x_test": arrays["x_test"] / np.float32(255)})
    said = complaint(edgekd_cli("run", recipe, "--out", tmp_path / "run", "--json"), 2)
    assert "x_test goes from 0 to 1, x_train from 0 to 255" in said
    assert "--any-range" in said

    taken = edgekd_cli("run", recipe, "--out", tmp_path / "run", "--any-range", "--set", "student.model=resnett")
    assert "did you mean 'resnet'" in complaint(taken, 2)  # the data are taken: what comes next is found
    assert "warning: data 'npz': x_test goes from" in taken.stderr


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


BRIEF = edgekd.Training(epochs=1, batch=18, precision="float32")
CALLS: dict[str, Callable[..., Any]] = {
    "train": lambda data, **more: edgekd.train(network(), data, training=BRIEF, **more),
    "distill": lambda data, **more: edgekd.distill(network(), network(), data, training=BRIEF, **more),
    "compare": lambda data, **more: edgekd.compare(network(), network(), data, **more),
    "quantize": lambda data, **more: edgekd.quantize(network(), "int8-asymmetric", data, training=None, **more),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_has_the_same_door(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    call, data = CALLS[name], ((X, Y), (X / np.float32(255), Y))
    with pytest.raises(BadInputError, match="x_test goes from 0 to 1"):
        call(data)
    assert call(data, any_range=True) is not None
    assert "x_test goes from 0 to 1" in capsys.readouterr().err


def test_a_rare_class_is_validated_too() -> None:
    keep = np.r_[np.flatnonzero(Y != 2), np.flatnonzero(Y == 2)[:3]]
    data = as_dataset(((X[keep], Y[keep]), (X, Y)))
    assert np.bincount(data.val.labels).tolist() == [2, 2, 1]
    assert np.bincount(data.train.labels).tolist() == [18, 18, 2]


def test_images_of_a_torch_data_set_are_channels_first() -> None:
    """OpenCV reads them as (H, W, 3): a network with eight channels would be built and taught."""
    data = TensorDataset(torch.from_numpy(X).movedim(1, 3).expand(-1, -1, -1, 3), torch.from_numpy(Y))
    assert "train looks channels-last (60, 8, 8, 3): images are (N, channels, height, width)" in refused((data, data))


def test_masked_values_are_not_taken_for_numbers() -> None:
    masked = np.ma.masked_less(FEATURES, 0)
    assert "data: x_train has masked values" in refused(((masked, Y), (FEATURES, Y)))


def test_labels_that_start_at_one_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    as_dataset(((X, Y + 1), (X, Y + 1)))
    assert "no training sample has class 0 of 0 to 3; class indices start at 0" in capsys.readouterr().err


def test_labels_with_gaps_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    as_dataset(((X, Y * 2), (X, Y * 2)))
    assert "no training sample has class 1 of 0 to 4; class indices have no gaps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (Y.astype(np.float32), "y_train must hold integer labels (N,), class indices, not float32 (60,)"),
        (np.random.default_rng(0).normal(size=60), "not float64 (60,)"),  # a price is no class
        (np.eye(3)[Y], "not float64 (60, 3)"),
        (np.eye(3, dtype=int)[Y], "not int64 (60, 3)"),  # several labels a sample
        (Y[:, None], "not int64 (60, 1)"),
        (Y == 1, "not bool (60,)"),
        (Y.astype(str), "not <U21 (60,)"),
        ([[0]] * 59 + [[0, 1]], "y_train is no array that numpy can read"),
    ],
)
def test_labels_that_are_no_class_indices_are_refused(labels: Any, words: str) -> None:
    assert words in refused(((X, labels), (X, labels)))
    if isinstance(labels, np.ndarray):
        split = Split(X, labels)
        assert words in refused(Dataset("own", split, split, split, ("a", "b", "c"), Preprocessing()))


def test_a_validation_split_may_come_between() -> None:
    data = as_dataset(((X, Y), (X[:9], Y[:9]), (X[:30], Y[:30])))
    assert [len(split) for split in (data.train, data.val, data.test)] == [60, 9, 30]
    assert "perhaps with (x_val, y_val) between" in refused(((X, Y),))
    assert "perhaps with (x_val, y_val) between" in refused(((X, Y),) * 4)


def test_scores_are_taught_only_where_the_data_set_says_that_rows_are_pairs() -> None:
    data = pairs()
    assert as_dataset(replace(data, task="sentence-pairs")).metric.name == "spearman"
    assert "y_train must hold integer labels (N,)" in refused(replace(data, task=Classification()))
    assert "has no classes" in refused(replace(data, classes=("a", "b")))
    odd = replace(data, train=data.train.take(np.arange(1, 101)))
    assert "rows 2i and 2i+1 must both carry the score" in refused(odd)
    unlabelled = Split(data.test.inputs, np.full(len(data.test), np.nan, np.float32))
    assert as_dataset(replace(data, train=unlabelled)).train.inputs is unlabelled.inputs
    assert "not finite" in refused(replace(data, test=unlabelled))


def test_a_users_own_dataset_has_the_types_that_training_relies_on() -> None:
    split = Split(X[:, 0], Y.astype(np.int8))
    data = as_dataset(Dataset("own", split, split, split, ("a", "b", "c"), Preprocessing(scale=1 / 255)))
    assert (data.train.labels.dtype, data.train.inputs.shape) == (np.int64, X.shape)


def test_tensors_are_taken_and_loaders_are_refused() -> None:
    x, y = torch.from_numpy(FEATURES), torch.from_numpy(Y)
    assert as_dataset(((x, y), (x, y))).train.inputs.shape == (54, 6)
    assert "x_train is no array that numpy can read" in refused(((x.clone().requires_grad_(), y), (x, y)))
    for batch in (20, 30):  # two batches of inputs and labels look like two splits
        assert "not DataLoader" in refused(DataLoader(TensorDataset(x, y), batch))


def test_a_loaders_own_way_to_stack_samples_is_told_to_be_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    data = TensorDataset(torch.from_numpy(FEATURES), torch.from_numpy(Y))
    assert as_dataset((DataLoader(data, 20), (FEATURES[::-1] * 0.9, Y))).train.inputs.shape == (54, 6)
    assert "collate_fn" not in capsys.readouterr().err
    as_dataset((DataLoader(data, 20, collate_fn=lambda samples: samples), (FEATURES[::-1] * 0.9, Y)))
    told = "data: train: samples are read one by one, so the loader's collate_fn is not called"
    assert told in " ".join(capsys.readouterr().err.split())
