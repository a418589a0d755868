import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.data._counter import random_words, uniform
from edgekd.data.augment import augment
from edgekd.errors import BadInputError

IMAGES = np.random.default_rng(0).integers(1, 256, (64, 3, 28, 20), dtype=np.uint8)
INDICES = np.arange(100, 164)


@given(st.permutations(range(64)), st.integers(1, 64), st.integers(0, 9), st.integers(0, 9))
def test_an_image_changes_the_same_way_whatever_batch_it_is_in(
    order: list[int], size: int, seed: int, view: int
) -> None:
    whole = augment(IMAGES, ("crop", "flip"), seed, INDICES, view)
    part = np.array(order[:size])
    np.testing.assert_array_equal(augment(IMAGES[part], ("crop", "flip"), seed, INDICES[part], view), whole[part])


def test_seed_view_and_index_each_change_the_outcome() -> None:
    base = augment(IMAGES, ("crop",), 0, INDICES, 0)
    for seed, indices, view in ((1, INDICES, 0), (0, INDICES + 1, 0), (0, INDICES, 1)):
        assert (augment(IMAGES, ("crop",), seed, indices, view) != base).any()


def test_the_source_is_left_alone_and_no_names_mean_no_change() -> None:
    before = IMAGES.copy()
    augment(IMAGES, ("flip", "crop"), 0, INDICES, 0)
    np.testing.assert_array_equal(IMAGES, before)
    assert augment(IMAGES, (), 0, INDICES, 0) is IMAGES


@pytest.mark.parametrize(("side", "margin"), [(28, 2), (32, 2), (48, 6)])
def test_crop_is_one_of_the_shifts_filled_with_zero(side: int, margin: int) -> None:
    images = np.random.default_rng(1).normal(size=(40, 1, side, side)).astype(np.float32)
    padded = np.pad(images, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    shifts = [(dy, dx) for dy in range(2 * margin + 1) for dx in range(2 * margin + 1)]
    for source, result in zip(padded, augment(images, ("crop",), 0, np.arange(40), 0), strict=True):
        assert any((source[:, dy : dy + side, dx : dx + side] == result).all() for dy, dx in shifts)


def test_flip_mirrors_about_half() -> None:
    images = np.tile(np.arange(4, dtype=np.uint8), (4000, 1, 1, 1))
    flipped = augment(images, ("flip",), 0, np.arange(4000), 0)[:, 0, 0, 0] == 3
    assert abs(flipped.mean() - 0.5) < 0.04  # five standard deviations of 4000 coins


def test_shifts_are_uniform_and_axes_independent() -> None:
    images = np.zeros((20_000, 1, 5, 5), np.uint8)
    images[:, 0, 2, 2] = 1
    moved = augment(images, ("crop",), 7, np.arange(20_000), 3)
    places = np.bincount(np.flatnonzero(moved.reshape(-1)) % 25, minlength=25)
    statistic = ((places - 800) ** 2 / 800).sum()
    assert statistic < 51.2  # chi-square, 24 degrees of freedom, p = 0.001


def test_a_color_jitter_scales_light_contrast_and_channels_and_nothing_else() -> None:
    images = np.random.default_rng(4).normal(100, 5, (200, 3, 8, 8))
    changed = augment(images, ("color-jitter",), 0, np.arange(200), 0)
    flat, new = images.reshape(600, -1), changed.reshape(600, -1)
    slope = (new.max(1) - new.min(1)) / (flat.max(1) - flat.min(1))
    shift = new[:, :1] - slope[:, None] * flat[:, :1]
    np.testing.assert_allclose(new, slope[:, None] * flat + shift, rtol=1e-5)  # float32 factors: the same line each
    light = new.mean(1) / flat.mean(1)
    assert 0.69 < light.min() < 0.8  # e^-0.35, and channels differ a little in their mean
    assert 1.25 < light.max() < 1.43
    assert 0.51 < slope.min() < 0.7  # e^-0.65
    pixels = np.full((200, 1, 2, 2), 250, np.uint8)
    brighter = augment(pixels, ("color-jitter",), 0, np.arange(200), 0)
    assert brighter.dtype == np.uint8
    assert brighter.max() == 255  # not around to 0
    assert brighter.min() > 170
    one = augment(images[7:8], ("color-jitter",), 0, np.array([7]), 0)
    np.testing.assert_array_equal(one, changed[7:8])


def test_bits_are_balanced() -> None:
    words = random_words(0, np.arange(20_000), 0, "any")
    ones = [((words >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)]
    assert np.abs(np.array(ones) - 0.5).max() < 0.02  # more than five standard deviations


def test_rotations_keep_what_a_turn_keeps_and_stay_within_45_degrees() -> None:
    signals = np.random.default_rng(2).normal(size=(500, 6, 9)).astype(np.float32)
    turned = augment(signals, ("rotate3d",), 0, np.arange(500), 0)
    assert turned.dtype == np.float32
    for part in (slice(0, 3), slice(3, 6)):  # float32 rounds each of nine sums of three products
        products = [np.einsum("nct,ncs->nts", x[:, part], x[:, part]) for x in (signals, turned)]
        np.testing.assert_allclose(products[1], products[0], rtol=0, atol=2e-5)
    rotations = augment(np.tile(np.eye(3), (500, 1, 1)), ("rotate3d",), 0, np.arange(500), 0)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, rtol=1e-12)  # float64 throughout
    cosines = (np.trace(rotations, axis1=1, axis2=2) - 1) / 2
    assert np.cos(np.pi / 4) - 1e-12 <= cosines.min() < 0.75
    assert cosines.max() > 0.999


def test_a_device_turns_as_one_and_alike_in_any_batch() -> None:
    device = np.random.default_rng(3).normal(size=(8, 3, 5))
    signals = np.concatenate([device, device], axis=1)
    turned = augment(signals, ("rotate3d",), 1, np.arange(8), 2)
    np.testing.assert_array_equal(turned[:, :3], turned[:, 3:])
    np.testing.assert_array_equal(augment(signals[5:6], ("rotate3d",), 1, np.array([5]), 2), turned[5:6])


def test_uniform_numbers_fill_their_range_and_draws_are_independent() -> None:
    words = random_words(0, np.arange(20_000), 0, "any")
    first, second = uniform(words, 0), uniform(words, 1)
    counts = np.histogram(first, bins=25, range=(0, 1))[0]
    assert ((counts - 800) ** 2 / 800).sum() < 51.2  # chi-square, 24 degrees of freedom, p = 0.001
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / 20_000**0.5  # five standard deviations


def test_unknown_names_and_inputs_of_another_kind_are_refused() -> None:
    with pytest.raises(BadInputError, match="unknown augmentation 'flop'; did you mean 'flip'"):
        augment(IMAGES, ("flop",), 0, INDICES, 0)
    with pytest.raises(BadInputError, match="needs images"):
        augment(np.zeros((3, 9)), ("flip",), 0, np.arange(3), 0)
    with pytest.raises(BadInputError, match="needs signals"):
        augment(IMAGES, ("rotate3d",), 0, INDICES, 0)
    with pytest.raises(BadInputError, match="triples of channels x, y, z, not 4"):
        augment(np.zeros((3, 4, 9)), ("rotate3d",), 0, np.arange(3), 0)


@pytest.mark.perf
def test_augmentation_never_starves_training() -> None:
    images = np.zeros((10_000, 1, 28, 28), np.uint8)
    seconds = []
    for view in range(3):
        start = time.perf_counter()
        augment(images, ("crop", "flip"), 0, np.arange(10_000), view)
        seconds.append(time.perf_counter() - start)
    assert 10_000 / min(seconds) > 50_000  # a tenth of what was measured
