import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgekd.bundle import Preprocessing
from edgekd.data.dataset import Dataset, Split, limit, normalisation, prepare, split_validation


def numbered(count: int, classes: int = 4) -> Split:
    return Split(np.arange(count, dtype=np.float32).reshape(count, 1), np.arange(count, dtype=np.int64) % classes)


def small() -> Dataset:
    return Dataset("small", numbered(8), numbered(4), numbered(4), ("a", "b", "c", "d"), Preprocessing())


def test_prepare_is_per_channel_and_leaves_the_raw_array_alone() -> None:
    raw = np.full((2, 2, 3, 3), 51, np.uint8)
    inputs = prepare(raw, Preprocessing(scale=1 / 255, mean=(0.2, 0.1), std=(1.0, 0.5)))
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs[:, 0], 0.0, atol=1e-7)  # one float32 rounding of 0.2
    np.testing.assert_allclose(inputs[:, 1], 0.2, atol=1e-6)
    assert (raw == 51).all()


def test_prepare_in_place_arithmetic_never_touches_float_inputs() -> None:
    raw = np.ones((2, 3), np.float32)
    prepare(raw, Preprocessing(scale=2.0))
    assert (raw == 1).all()


@given(arrays(np.uint8, (50, 3, 4, 4)))
def test_normalised_training_data_has_zero_mean_and_unit_variance(images: np.ndarray) -> None:
    inputs = prepare(images, normalisation(images))
    deviation = images.std((0, 2, 3)) / 255
    kept = 1e-6 / np.maximum(deviation, 1e-6)  # mean and std are kept to six digits: what that is worth in deviations
    assert (abs(inputs.mean((0, 2, 3))) <= 1e-3 + kept)[deviation > 0].all()
    np.testing.assert_allclose(inputs.std((0, 2, 3))[deviation > 0], 1, atol=1e-3)
    assert np.isfinite(inputs).all()


def test_normalisation_of_features_is_per_column() -> None:
    features = np.stack([np.arange(5000.0), 1e8 + np.arange(5000.0) % 2], axis=1).astype(np.float64)
    found = normalisation(features)
    assert found.mean == pytest.approx((2499.5, 1e8), rel=1e-5)
    assert found.std == pytest.approx((1443.376, 0.5), rel=1e-5)


@given(st.integers(1, 6), st.integers(40, 200), st.integers(0, 5))
def test_validation_is_disjoint_complete_and_stratified(classes: int, count: int, seed: int) -> None:
    train, val = split_validation(numbered(count, classes), 0.1, seed)
    together = np.sort(np.concatenate([train.inputs, val.inputs]).ravel())
    assert together.tolist() == list(range(count))
    held = np.bincount(val.labels, minlength=classes)
    expected = np.bincount(numbered(count, classes).labels, minlength=classes) * 0.1
    assert (abs(held - expected) <= 0.5).all()  # each class is rounded on its own


def test_validation_and_limit_follow_the_seed() -> None:
    split = numbered(400)
    first, again, other = (split_validation(split, 0.1, seed)[1].inputs.ravel().tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert limit(split, 10, 3).inputs.ravel().tolist() == limit(split, 20, 3).inputs.ravel().tolist()[:10]
    assert len(limit(split, 10_000, 3)) == 400


def test_digest_names_the_content() -> None:
    base = small()
    assert base.digest() == small().digest()
    changed = numbered(8)
    changed.inputs[3, 0] += 1
    variants = [
        dataclasses.replace(base, train=changed),
        dataclasses.replace(base, preprocessing=Preprocessing(scale=2.0)),
        dataclasses.replace(base, classes=("a", "b", "d", "c")),
        dataclasses.replace(base, val=base.test, test=numbered(3)),
        dataclasses.replace(base, train=Split(base.train.inputs.astype(np.float64), base.train.labels)),
    ]
    assert len({base.digest(), *(variant.digest() for variant in variants)}) == 6
