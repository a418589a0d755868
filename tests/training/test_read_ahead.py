"""Data sets and loaders in the place of arrays: the same weights to the bit, nothing in memory, errors of one line."""

import os
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, Subset, WeightedRandomSampler

import edgekd
from edgekd.data import Sized, as_dataset
from edgekd.data.sources import Rows
from edgekd.data.streams import Stream
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from edgekd.training.batches import Batches
from edgekd.training.evaluate import evaluate
from edgekd.training.read_ahead import read_ahead

FEW = edgekd.Training(epochs=2, batch=32, precision="float32")


def arrays(count, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    images = random.integers(0, 120, (count, 1, 8, 8)) + 40 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


class Images(Dataset):
    """Samples made when they are asked for; `wrong` ones as said."""

    def __init__(self, pair, wrong=None):
        self.pair, self.wrong = pair, wrong or {}

    def __len__(self):
        return len(self.pair[1])

    def __getitem__(self, place):
        x, y = self.pair[0][place], int(self.pair[1][place])
        return self.wrong[place](x, y) if place in self.wrong else (torch.from_numpy(x), y)


def network(width):
    torch.manual_seed(width)
    first = [nn.Conv2d(1, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(9 * width, 3))


def taught(data, **options):
    student = network(2)
    edgekd.distill(network(4), student, data, training=FEW, **options)
    return student.state_dict()


def test_weights_are_those_of_the_arrays_whatever_the_number_of_workers(tmp_path):
    train, test = arrays(200, 0), arrays(60, 1)
    wanted = taught((train, test))
    for workers in (0, 2):
        loaders = [DataLoader(Images(pair), 16, shuffle=True, num_workers=workers) for pair in (train, test)]
        found = taught(loaders)
        assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert all(torch.equal(taught((Images(train), test))[name], value) for name, value in wanted.items())


class Endless:
    """More than fits into memory; labels are listed."""

    targets = np.arange(400_000) % 5

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, place):
        if place == 399_999 - 7:
            raise AssertionError("nobody has asked for this one")
        return np.full((3, 224, 224), place % 255, np.float32), self.targets[place]


def test_what_is_larger_than_memory_is_taught_from_at_once():
    data = as_dataset((Endless(), Endless(), (np.zeros((5, 3, 224, 224)), np.arange(5))))
    assert data.train.inputs.shape == (400_000, 3, 224, 224)  # 240 GB
    assert data.preprocessing.mean == (0.0,)  # floats go in as they come
    batches = Batches(data, Data(name="endless"), 8, 0, torch.device("cpu"))
    first, again = (next(batches.epoch(3, 40_000)) for _ in range(2))
    assert torch.equal(first.inputs[:, 0, 0, 0], first.indices % 255)
    assert torch.equal(first.indices, again.indices)
    shares = [
        next(Batches(data, Data(name="endless"), 8, 0, torch.device("cpu"), n, 2).epoch(3, 40_000)) for n in (0, 1)
    ]
    assert sorted(torch.cat([share.indices for share in shares]).tolist()) == sorted(first.indices.tolist())
    assert len(data.digest()) == 64


class Lying(Images):
    """Lists labels that its samples do not have, as where a transform changes them."""

    @property
    def targets(self):
        return 2 - self.pair[1]


def test_listed_labels_are_not_trusted_blindly():
    train = arrays(60, 0)
    found = as_dataset((Lying(train), train, train))
    assert np.array_equal(found.train.labels, train[1])


def fails(x, y):
    raise OSError("half of the file is missing")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({3: fails}, r"data: train: sample 3 cannot be read: OSError: half of the file is missing \(test_read_ahead"),
        ({0: lambda x, y: x}, "sample 0 is a ndarray, not a pair"),
        ({5: lambda x, y: (x, [y, y])}, r"the label of sample 5 is \(2,\), that of sample 0 \(\)"),
    ],
)
def test_samples_that_are_wrong_are_one_line(wrong, message):
    with pytest.raises(BadInputError, match=message):
        as_dataset((Images(arrays(20, 0), wrong), arrays(20, 1)))


class Breaks(Images):
    """Can be read but for one sample, once its labels are known."""

    targets = property(lambda self: self.pair[1])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (fails, "sample 37 cannot be read: OSError: half of the file is missing"),
        (lambda x, y: (x[:, :4], y), r"sample 37 is \(1, 4, 8\), the first one \(1, 8, 8\)"),
    ],
)
def test_a_sample_that_fails_in_training_is_named(wrong, message, workers):
    pair = arrays(2000, 0)  # of which some are looked at beforehand, 37 is not
    loader = DataLoader(Breaks(pair, {37: wrong}), 16, num_workers=workers)
    data = as_dataset((loader, pair, pair))
    with pytest.raises(BadInputError, match=message):
        list(read_ahead(data.train.inputs, np.arange(64).reshape(8, 8)))


class Random(Images):
    """An augmentation of the user's own, drawn anew whenever a sample is read."""

    def __getitem__(self, place):
        x, y = super().__getitem__(place)
        return x.float() + torch.randn(x.shape), y


def test_a_data_set_that_draws_at_random_has_a_live_teacher_and_says_so(tmp_path, capsys):
    train, test = arrays(64, 0), arrays(30, 1)
    data = (Random(train), (test[0].astype(np.float32), test[1]))
    edgekd.distill(network(4), network(2), data, training=FEW, folder=tmp_path)
    said = capsys.readouterr().err
    assert "the numbers of this run cannot be repeated to the bit: samples differ whenever they are read" in said
    assert "the teacher answers live" in said
    assert not (tmp_path / "answers").exists()


def test_numbers_of_another_type_than_the_first_ones_are_not_cut():
    """A list of whole numbers is followed by one of fractions, a uint8 by what goes beyond 255."""
    rows = [([1, 2], 0), ([1.5, 300.5], 1)] * 20
    samples = type("Lists", (Dataset,), {"__len__": lambda _: 40, "__getitem__": lambda _, place: rows[place]})()
    with pytest.raises(BadInputError, match="sample 1 is float32, the first one int64: bring all to one type"):
        as_dataset((samples, samples))


def test_rows_are_read_in_the_order_that_is_asked_for():
    x, y = arrays(40, 0)
    rows = as_dataset((Subset(Images((x, y)), range(20, 40)), (x, y), (x, y))).train.inputs
    assert isinstance(rows, Rows)
    assert np.array_equal(rows[[3, 1]], x[[23, 21]])
    assert np.array_equal(rows.subset(np.array([5, 6]))[:], x[25:27])
    assert np.array_equal(np.asarray(rows), x[20:])


class Shards(IterableDataset):
    """A stream, such as a tar archive: no sample can be asked for."""

    def __init__(self, pair, length=True):
        self.pair = pair
        if length:
            self.__class__ = type("Shards", (Shards,), {"__len__": lambda self: len(self.pair[1])})

    def __iter__(self):
        return zip(map(torch.from_numpy, self.pair[0]), map(int, self.pair[1]), strict=True)


def own_order(pair):
    count = len(pair[1])
    return DataLoader(Images(pair), 16, sampler=WeightedRandomSampler([1.0] * count, count))


@pytest.mark.parametrize("own", [
    lambda _: {"batch_sampler": [[0, 1, 2, 3]] * 9},
    lambda images: {"batch_size": 4, "sampler": RandomSampler(images, replacement=True, num_samples=36)},
])  # fmt: skip
def test_what_a_loader_draws_is_what_is_taught(own):
    """Whole batches that the user chose, and samples that are drawn more than once."""
    images, test = Images(arrays(12, 0)), arrays(30, 1)
    data = as_dataset((DataLoader(images, **own(images)), test, test))
    assert isinstance(data.train.inputs, Stream)
    batches = Batches(data, Data(name="stream"), 4, 0, torch.device("cpu"))
    assert [len(batch.labels) for batch in batches.epoch(0, 0)] == [4] * 9


@pytest.mark.parametrize("loader", [own_order, lambda pair: DataLoader(Shards(pair), 16)])
def test_a_loader_with_an_order_of_its_own_is_taken_as_it_comes(loader, capsys, tmp_path):
    train, test = arrays(200, 0), arrays(60, 1)
    student = network(4)
    edgekd.distill(
        network(4).requires_grad_(False), student, (loader(train), loader(test), test),
        training=edgekd.Training(epochs=6, batch=512, precision="float32"), folder=tmp_path, cross_entropy=1.0,
        losses=[edgekd.KD(weight=0.0)],
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "the numbers of this run cannot be repeated to the bit: the loader has an order of its own" in said
    assert "the teacher answers live, at every step: the loader has an order of its own" in said
    data = as_dataset((train, test))
    assert evaluate(student, data, data.test) > 0.8  # chance is a third; brightness tells the classes apart


def test_batches_of_a_stream_are_shared_and_whole():
    train, test = arrays(40, 0), arrays(30, 1)
    data = as_dataset((DataLoader(Shards(train), 16), test, test))
    alone = [Batches(data, Data(name="stream"), 16, 0, torch.device("cpu"), process, 2) for process in (0, 1)]
    first, second = (list(batches.epoch(0, 0)) for batches in alone)
    assert len(first) == len(second) == 2  # the last batch has but 8
    assert torch.equal(torch.stack([first[1].labels, second[1].labels], 1).ravel(), torch.from_numpy(train[1][16:32]))
    assert (first[0].indices == -1).all()
    assert len(list(alone[0].epoch(0, 1))) == 1


def test_a_stream_without_end_has_so_many_batches_as_are_said():
    train, test = arrays(40, 0), arrays(30, 1)
    endless = Sized(DataLoader(Shards(train, length=False), 8), 3)
    data = as_dataset((endless, test, test))
    assert len(data.train) == 24
    batches = Batches(data, Data(name="stream"), 8, 0, torch.device("cpu"))
    for epoch in (0, 1):
        labels = torch.cat([batch.labels for batch in batches.epoch(epoch, 0)])
        assert torch.equal(labels, torch.from_numpy(train[1][:24]))


def test_streams_that_cannot_be_taken_are_one_line():
    train, test = arrays(40, 0), arrays(30, 1)
    with pytest.raises(BadInputError, match=r"train: the DataLoader has no length.*Sized\(loader"):
        as_dataset((DataLoader(Shards(train, length=False), 8), test, test))
    with pytest.raises(BadInputError, match=r"cannot be split: give \(train, val, test\)"):
        as_dataset((own_order(train), test))
    once = (batch for batch in [train])
    for part in (once, Sized(once, 1)):
        with pytest.raises(BadInputError, match="train: the generator ends with the first epoch: give what begins"):
            as_dataset((part, test, test))
    data = as_dataset((own_order(train), test, test))
    data.train.inputs.data.sampler.num_samples = 16
    batches = Batches(data, Data(name="stream"), 16, 0, torch.device("cpu"))
    with pytest.raises(BadInputError, match="the loader gave 1 batches in epoch 3, 2 when it was read first"):
        list(batches.epoch(2, 0))


def test_samples_that_cannot_be_read_are_left_out_if_asked(capsys):
    def broken(*_):
        raise OSError("photo-17.jpg is truncated")

    pair, test = arrays(80, 0), arrays(40, 1)
    images = Images(pair, {17: broken, 33: broken})
    with pytest.raises(
        BadInputError, match=r"sample 17 cannot be read: .*photo-17.jpg.*; --skip-broken N \(skip_broken=N\)"
    ):
        taught((images, test))
    with pytest.raises(BadInputError, match="2 samples cannot be read, 1 may be left out; sample 33 cannot be read"):
        taught((images, test), skip_broken=1)
    capsys.readouterr()
    without = np.delete(np.arange(80), [17, 33])
    kept = as_dataset((images, test), skip_broken=2).train
    assert (
        "data: train: 2 of 80 samples left out: sample 17 cannot be read: OSError: photo-17.jpg"
        in capsys.readouterr().err
    )
    wanted = as_dataset(((pair[0][without], pair[1][without]), test)).train
    np.testing.assert_array_equal(kept.inputs[:], wanted.inputs)
    np.testing.assert_array_equal(kept.labels, wanted.labels)


def test_a_worker_that_is_killed_is_one_line():
    def killed(*_):
        if torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1, 8, 8, dtype=torch.uint8), 0

    images = Images(arrays(64, 0), {5: killed})
    rows = as_dataset((DataLoader(images, 8, num_workers=1), arrays(20, 1))).train.inputs
    places = [np.arange(start, start + 8) for start in range(0, len(rows), 8)]
    with pytest.raises(BadInputError, match=r"^DataLoader worker .*; often memory ran out: fewer workers"):
        list(read_ahead(rows, places))
