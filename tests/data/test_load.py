import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.errors import BadInputError
from edgekd.recipe import Data


def load(name: str, **fields: object) -> data.Dataset:
    return data.load(Data.model_validate({"name": name} | fields), seed=0)


def test_the_embedded_subset_is_stratified_and_small() -> None:
    dataset = load("fashion-mnist-subset")
    assert dataset.train.inputs.shape == (7200, 1, 28, 28)
    assert dataset.train.inputs.dtype == np.uint8
    for split, per_class in ((dataset.train, 720), (dataset.val, 80), (dataset.test, 200)):
        assert np.bincount(split.labels).tolist() == [per_class] * 10
    assert len(dataset.classes) == 10
    folder = Path(data.__path__[0])
    assert (folder / "fashion_mnist_subset.npz").stat().st_size < 5e6
    assert "Zalando" in (folder / "fashion_mnist_subset.LICENSE").read_text()


def test_training_inputs_are_normalised_by_training_statistics_alone() -> None:
    dataset = load("fashion-mnist-subset")
    inputs = data.prepare(dataset.train.inputs, dataset.preprocessing)
    assert abs(float(inputs.mean(dtype=np.float64))) < 1e-4  # six digits of mean and std
    assert abs(float(inputs.std(dtype=np.float64)) - 1) < 1e-4


def test_limit_takes_a_seeded_prefix_of_train_only() -> None:
    whole, limited = load("fashion-mnist-subset"), load("fashion-mnist-subset", limit=100)
    assert len(limited.train) == 100
    assert len(limited.val) == len(whole.val)
    assert len(np.unique(limited.train.labels)) == 10
    np.testing.assert_array_equal(load("fashion-mnist-subset", limit=50).train.labels, limited.train.labels[:50])


def test_names_offer_data_sets_only() -> None:
    built_in = ["fashion-mnist", "fashion-mnist-subset", "fashion-scenes", "rotten-tomatoes", "stsb", "tree-crowns"]
    built_in.append("watch-har")
    assert data.names() == sorted(
        [*built_in, "audio-folder", "coco", "csv", "image-folder", "npz", "text", "voc", "yolo"]
    )
    for wrong, hint in (("fashion", "fashion-mnist"), ("augment", "known: "), ("dataset", "known: ")):
        with pytest.raises(BadInputError, match=f"unknown data set '{wrong}'.*{hint}"):
            load(wrong)


def test_a_misspelt_augmentation_is_found_before_training() -> None:
    with pytest.raises(BadInputError, match="did you mean 'crop'"):
        load("fashion-mnist-subset", augmentation=("corp",))


def test_the_users_function_may_return_arrays_or_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_sets.py").write_text(
        "import numpy as np\n"
        "from edgekd.data import load\n"
        "from edgekd.recipe import Data\n"
        "x, y = np.ones((40, 6)), np.arange(40) % 2\n"
        "def pairs():\n    return (x, y), (x, y)\n"
        "def scaled(path):\n    return (x * float(path), y), (x, y)\n"
        "def whole():\n    return load(Data(name='my_sets:pairs'), 0)\n"
        "def nothing():\n    return None\n"
        "def broken():\n    return 1 / 0\n"
        "def holes():\n    return (x * np.nan, y), (x, y)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    pairs = load("my_sets:pairs")
    assert (len(pairs.train), len(pairs.val), len(pairs.test)) == (36, 4, 40)
    assert pairs.train.inputs.dtype == np.float32
    assert load("my_sets:scaled", path="3").train.inputs.max() == 3
    assert load("my_sets:whole").digest() == pairs.digest()
    assert len(load("my_sets:whole", limit=5).train) == 5
    for name, message in (
        ("nothing", "must be an edgekd.data.Dataset or"),
        ("broken", "raised ZeroDivisionError: division by zero"),
        ("holes", "x_train is not finite in sample 0"),
    ):
        with pytest.raises(BadInputError, match=message):
            load(f"my_sets:{name}")
    monkeypatch.delitem(sys.modules, "my_sets")
