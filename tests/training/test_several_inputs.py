"""Networks of several inputs, by the names of their forward's parameters: arrays, data sets and loaders."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

import edgekd
from edgekd.backends.reference import Reference
from edgekd.data import as_dataset
from edgekd.data.dataset import model_inputs
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from edgekd.training import predict
from edgekd.training.batches import Batches

QUICK = edgekd.Training(epochs=2, batch=16, optimizer="adamw", learning_rate=0.01, precision="float32")
CPU = torch.device("cpu")


class Net(nn.Module):
    """Tokens (N, L) under a mask (N, L), and two numbers (N, 2), to logits (N, 3) and what they come from."""

    def __init__(self, width, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.words, self.head = nn.Embedding(12, width), nn.Linear(width + 2, 3)

    def forward(self, tokens, mask, numbers=None):
        pooled = (self.words(tokens) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return {"pooled": pooled, "logits": self.head(torch.cat([pooled, numbers], 1))}


def arrays(count, seed):
    random = np.random.default_rng(seed)
    tokens, mask = random.integers(0, 12, (count, 6)), np.arange(6) < random.integers(2, 7, (count, 1))
    numbers = random.normal(size=(count, 2))
    labels = (numbers > 0).sum(1) * (tokens[:, 0] < 11)
    return {"tokens": tokens, "mask": mask.astype(np.int32), "numbers": numbers}, labels


class Samples(Dataset):
    """Those, one by one, as a data set of Hugging Face gives them."""

    def __init__(self, inputs, labels):
        self.columns = {**inputs, "labels": labels}

    def __len__(self):
        return len(self.columns["labels"])

    def __getitem__(self, index):
        return {name: torch.as_tensor(column[index]) for name, column in self.columns.items()}


@pytest.fixture(scope="module")
def splits():
    return arrays(160, 0), arrays(48, 1)


@pytest.fixture(scope="module")
def teacher(splits):
    return edgekd.train(Net(24), splits, training=QUICK)


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_arrays_a_data_set_and_a_loader_with_workers_teach_the_same(splits, teacher):
    in_memory = edgekd.distill(teacher, Net(4), splits, training=QUICK)
    rows = [Samples(*split) for split in splits]
    one_by_one = edgekd.distill(teacher, Net(4), rows, training=QUICK)
    loaders = [DataLoader(samples, 8, num_workers=1) for samples in rows]
    ahead = edgekd.distill(teacher, Net(4), loaders, training=QUICK)
    assert torch.equal(weights(in_memory), weights(one_by_one))
    assert torch.equal(weights(in_memory), weights(ahead))
    assert not torch.equal(weights(in_memory), weights(Net(4)))


def test_a_loader_with_an_order_of_its_own_gives_dictionaries_too(splits, teacher):
    samples, val, test = Samples(*splits[0]), *(Samples(*arrays(32, seed)) for seed in (2, 3))
    drawn = DataLoader(samples, 16, sampler=WeightedRandomSampler([1.0] * len(samples), 64))
    student = edgekd.distill(teacher, Net(4), (drawn, val, test), training=QUICK)
    assert not torch.equal(weights(student), weights(Net(4)))


def test_a_batch_has_the_types_that_networks_take_and_the_mask_that_is_given(splits):
    data = as_dataset(splits)
    batch = Batches(data, Data(name="data"), 16, 0, CPU).at(np.arange(5), 0)
    assert {name: value.dtype for name, value in batch.inputs.items()} == {
        "tokens": torch.int64, "mask": torch.int64, "numbers": torch.float32,
    }  # fmt: skip
    assert torch.equal(batch.mask, batch.inputs["mask"].bool())


@pytest.mark.slow  # examples/three_inputs.py, a few steps of it, is among the default tests
def test_it_is_fine_tuned_in_int8_and_its_file_takes_the_inputs_by_name(splits, teacher):
    data = as_dataset(splits)
    fine = edgekd.Training(epochs=1, batch=16, learning_rate=0.001, precision="float32")
    int8 = edgekd.quantize(teacher, "int8-asymmetric", data, teacher, training=fine)
    inputs = model_inputs(data.test.inputs, data.preprocessing)
    assert [value.name for value in int8.graph.graph.input] == list(inputs)
    answers = Reference(int8.graph).run(inputs, batch=len(data.test))["logits"]
    # what training simulated is what the file computes, but for roundings
    assert (predict(int8.module, data, data.test).argmax(1) == answers.argmax(1)).mean() > 0.95
    assert data.metric(answers, data.test.labels) > data.metric(predict(Net(24), data, data.test), data.test.labels)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"numbers": None, "number": np.zeros((160, 2))},
            "data has 'number' too; did you mean 'numbers'.: leave it out",
        ),
        ({"mask": None}, "the model needs 'mask'; data has tokens, numbers"),
        ({"numbers": np.zeros((159, 2))}, "tokens has 160 samples, mask has 160 samples, numbers has 159 samples"),
        ({"numbers": np.full((160, 2), np.nan)}, r"x_train\['numbers'\] is not finite in sample 0"),
        ({"numbers": np.full((160, 1), "a")}, "numbers holds <U1, no numbers: leave it out"),
    ],
)
def test_inputs_that_do_not_fit_are_named(splits, change, reason):
    (inputs, labels), _ = splits
    given = {name: value for name, value in {**inputs, **change}.items() if value is not None}
    with pytest.raises(BadInputError, match=reason):
        edgekd.train(Net(4), ((given, labels), (given, labels)), training=QUICK)


def test_several_inputs_in_a_row_have_no_names(splits):
    (inputs, labels), _ = splits
    rows = [(*(column[place] for column in inputs.values()), labels[place]) for place in range(len(labels))]
    with pytest.raises(
        BadInputError, match="sample 0 is a tuple, not a pair .* a dictionary by the names of the model"
    ):
        edgekd.train(Net(4), (Listed(rows), Listed(rows)), training=QUICK)


def test_a_sample_of_another_shape_is_named(splits):
    samples = Samples(*splits[0])
    uneven = Listed([samples[place] for place in range(40)])
    uneven[7]["tokens"] = torch.zeros(5, dtype=torch.int64)
    with pytest.raises(BadInputError, match=r"sample 7 is {'tokens': \(5,\), .* the first one {'tokens': \(6,\), "):
        edgekd.train(Net(4), (uneven, samples), training=QUICK)


class Listed(Dataset):
    """Samples in a list."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        return self.rows[place]
