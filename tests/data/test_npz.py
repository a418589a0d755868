from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd import data
from edgekd.errors import BadInputError
from edgekd.recipe import Data

GOOD: dict[str, Any] = {
    "x_train": np.zeros((40, 8, 8), np.uint8),
    "y_train": np.arange(40) % 4,
    "x_test": np.zeros((8, 8, 8), np.uint8),
    "y_test": np.arange(8) % 4,
}


def load(folder: Path, **changes: Any) -> data.Dataset:
    path = folder / "mine.npz"
    np.savez(path, **{key: value for key, value in (GOOD | changes).items() if value is not None})
    return data.load(Data(name="npz", path=str(path)), seed=0)


def test_grey_images_gain_their_channel_and_classes_their_numbers(tmp_path: Path) -> None:
    dataset = load(tmp_path)
    assert dataset.train.inputs.shape == (36, 1, 8, 8)
    assert dataset.classes == ("0", "1", "2", "3")
    assert dataset.preprocessing.scale == 1 / 255


def test_a_given_validation_split_and_class_names_are_used(tmp_path: Path) -> None:
    dataset = load(tmp_path, x_val=np.ones((4, 8, 8), np.uint8), y_val=np.arange(4), classes=list("abcd"))
    assert (len(dataset.train), len(dataset.val)) == (40, 4)
    assert dataset.classes == ("a", "b", "c", "d")
    assert load(tmp_path, classes=np.array([b"a", b"b", "ä".encode(), b"d"])).classes == ("a", "b", "ä", "d")


def test_sensor_windows_become_float32_normalised_per_channel(tmp_path: Path) -> None:
    windows = np.random.default_rng(0).normal(5.0, 3.0, (40, 6, 100))
    dataset = load(tmp_path, x_train=windows, x_test=windows[:8])
    assert dataset.train.inputs.dtype == np.float32
    assert len(dataset.preprocessing.mean) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, r"no y_test \(there is: x_test, x_train, y_train\)"),
        ({"x_val": GOOD["x_test"]}, "no y_val"),
        ({"y_train": np.zeros(39, int)}, "x_train has 40 samples, y_train 39"),
        ({"y_train": np.zeros((40, 1), int)}, "y_train must hold integer labels"),
        ({"y_train": np.zeros(40)}, "y_train must hold integer labels"),
        ({"y_test": np.full(8, 4)}, "y_test holds 4 in sample 0; there are the classes 0 to 3"),
        ({"y_test": np.full(8, -1)}, "y_test holds -1 in sample 0; class indices start at 0"),
        ({"y_train": np.zeros(40, int)}, "one class"),
        ({"classes": np.array(4)}, r"classes must be names \(C,\), not int64 \(\)"),
        ({"classes": np.array([["a", "b"], ["c", "d"]])}, r"classes must be names \(C,\), not <U1 \(2, 2\)"),
        ({"x_train": np.zeros(40)}, "x_train must hold numbers"),
        ({"x_train": np.full((40, 8, 8), "a")}, "x_train must hold numbers"),
        ({"x_test": np.zeros((8, 9, 9), np.uint8)}, r"differ in shape: train \(1, 8, 8\), test \(1, 9, 9\)"),
        ({"x_train": np.full((40, 2), np.nan)}, "x_train is not finite in sample 0"),
        ({"x_train": np.zeros((40, 8, 8, 3), np.uint8)}, "looks channels-last"),
        ({"x_train": np.zeros((40, 8, 8, 4), np.uint8)}, r"looks channels-last \(40, 8, 8, 4\)"),
        ({"x_test": np.zeros((0, 8, 8), np.uint8), "y_test": np.zeros(0, int)}, "x_test has 0 samples"),
        ({"x_train": np.array([{}] * 40)}, "not a readable npz file"),
    ],
)
def test_unusable_arrays_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        load(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_too_few_samples_to_validate_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="8 training samples are too few"):
        load(tmp_path, x_train=GOOD["x_test"], y_train=GOOD["y_test"])


def test_corrupt_and_missing_files_are_one_line(tmp_path: Path) -> None:
    load(tmp_path)
    whole = (tmp_path / "mine.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    single = tmp_path / "single.npy"
    np.save(single, np.zeros(3))
    for content in (b"", b"text", whole[:300], whole[:-40], bytes(flipped), single.read_bytes()):
        path = tmp_path / "bad.npz"
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=r"bad\.npz") as caught:
            data.load(Data(name="npz", path=str(path)), seed=0)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInputError, match="no such file"):
        data.load(Data(name="npz", path=str(tmp_path / "none.npz")), seed=0)
    with pytest.raises(BadInputError, match=r"needs data\.path"):
        data.load(Data(name="npz"), seed=0)


def test_a_class_that_no_training_sample_has_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = np.arange(160, dtype=np.uint8).reshape(40, 4), np.arange(40) % 2
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y, "classes": ["cat", "dog", "cow"]}
    np.savez(tmp_path / "d.npz", **arrays)
    data.load(Data(name="npz", path=str(tmp_path / "d.npz")), seed=0)
    assert "no training sample has class 2, 'cow'" in capsys.readouterr().err.replace("\n", " ")


def test_arrays_that_are_not_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = load(tmp_path, x_valid=GOOD["x_test"], y_valid=GOOD["y_test"])
    assert "not read: x_valid, y_valid" in " ".join(capsys.readouterr().err.split())
    assert len(found.val) == 4  # held out of train, which is now known
