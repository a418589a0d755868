import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.data import fashion_mnist
from edgekd.data.npz import read_npz
from edgekd.errors import BadInputError
from edgekd.recipe import Data

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "make_fashion_subset.py"
installed = pytest.mark.skipif(not fashion_mnist.INSTALLED.is_dir(), reason="apt-get install dataset-fashion-mnist")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small data set in the real format: training files gzipped, test files plain."""
    random = np.random.default_rng(0)
    for prefix, count in (("train", 100), ("t10k", 20)):
        images = idx(random.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        labels = idx((np.arange(count) % 10).astype(np.uint8))
        for name, content in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            zipped = prefix == "train"
            (tmp_path / f"{name}{'.gz' * zipped}").write_bytes(gzip.compress(content) if zipped else content)
    return tmp_path


def load(folder: Path) -> data.Dataset:
    return data.load(Data(name="fashion-mnist", path=str(folder)), seed=0)


def test_gzipped_and_plain_files_are_read(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.test.inputs.shape == (20, 1, 28, 28)
    assert dataset.test.labels.tolist() == [i % 10 for i in range(20)]
    assert dataset.test.labels.dtype == np.int64


def test_absent_data_says_in_one_line_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        load(tmp_path / "nowhere")
    message = str(caught.value)
    assert "\n" not in message
    assert "apt-get install dataset-fashion-mnist" in message
    assert "--set data.path=DIR" in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", b"not gzip", "not readable"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"x" * 100_000)[:-20], "not readable"),
        ("t10k-images-idx3-ubyte", b"\0\0", "too short"),
        ("t10k-images-idx3-ubyte", b"\x89PNG" + bytes(60), "not an IDX file"),
        ("t10k-images-idx3-ubyte", idx(np.zeros((20, 28, 28), np.uint8))[:-1], "promises 15680 values, it holds 15679"),
        ("t10k-labels-idx1-ubyte", idx(np.zeros(19, np.uint8)), "do not belong together"),
        ("t10k-labels-idx1-ubyte", idx(np.full(20, 10, np.uint8)), "do not belong together"),
    ],
)
def test_corrupt_files_are_named(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(BadInputError, match=message):
        load(folder)


@installed
def test_the_full_set_has_60000_and_10000_images() -> None:
    raw = fashion_mnist.read(Data(name="fashion-mnist"))
    assert (len(raw.train), len(raw.test)) == (60_000, 10_000)
    assert np.bincount(raw.train.labels).tolist() == [6000] * 10


@installed
def test_the_embedded_subset_is_what_its_script_makes(tmp_path: Path) -> None:
    made = tmp_path / "subset.npz"
    subprocess.run([sys.executable, str(SCRIPT), "--output", str(made)], check=True, capture_output=True)
    embedded = read_npz(Path(data.__path__[0]) / "fashion_mnist_subset.npz")
    again = read_npz(made)
    assert embedded.keys() == again.keys()
    for key, array in embedded.items():
        np.testing.assert_array_equal(again[key], array)
