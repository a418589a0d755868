"""Synthetic scenes of real items: what is where, and that no split shows another's items."""

import numpy as np
import pytest

from edgekd.data import load
from edgekd.errors import BadInputError
from edgekd.recipe import Data

FEW = {"train": 40, "val": 10, "test": 20}


def scenes(**options: int):
    return load(Data(name="fashion-scenes", options=options or FEW), seed=0)


def test_maps_are_as_large_as_scenes_and_every_class_is_named():
    data = scenes()
    assert [split.inputs.shape for split in (data.train, data.val, data.test)] == [
        (count, 1, 64, 64) for count in FEW.values()
    ]
    assert data.train.labels.shape == (40, 64, 64)
    assert (data.classes[0], len(data.classes), data.task.metric.name) == ("ground", 11, "miou")
    assert set(np.unique(data.train.labels)) <= set(range(11))


def test_items_stand_out_from_the_ground():
    """An item's pixels are brighter than 32; the ground is at most 96 and its noise."""
    data = scenes()
    grey, ground = data.train.inputs[:, 0], data.train.labels == 0
    assert grey[~ground].min() > 32
    assert grey[ground].mean() == pytest.approx(48, abs=4)  # half of 96; 40 × 64 blocks of deviation 28
    share = 1 - ground.mean()
    assert 0.15 < share < 0.6  # two to five items of some 330 of 4,096 pixels


def test_scenes_are_the_same_each_time_and_differ_from_split_to_split():
    once, again = scenes(), scenes()
    np.testing.assert_array_equal(once.train.inputs, again.train.inputs)
    np.testing.assert_array_equal(once.test.labels, again.test.labels)
    assert not (once.train.inputs[:10] == once.val.inputs).all()


def test_an_unknown_option_is_named():
    with pytest.raises(BadInputError, match="tset"):
        scenes(tset=3)
