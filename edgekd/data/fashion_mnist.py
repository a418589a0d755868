"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28×28, ten classes (Xiao et al., arXiv:1708.07747)."""

from pathlib import Path

import numpy as np

from edgekd.data.dataset import Split
from edgekd.data.idx import read_idx
from edgekd.data.raw import Raw
from edgekd.errors import BadInputError
from edgekd.recipe import Data

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
INSTALLED = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts it


def read(data: Data) -> Raw:
    """The IDX files in `data.path`, or where Debian's `dataset-fashion-mnist` installs them."""
    folder = Path(data.path) if data.path else INSTALLED
    return Raw(_split(folder, "train"), _split(folder, "t10k"), CLASSES)


def _split(folder: Path, prefix: str) -> Split:
    images = read_idx(_find(folder, f"{prefix}-images-idx3-ubyte"), rank=3)
    labels = read_idx(_find(folder, f"{prefix}-labels-idx1-ubyte"), rank=1)
    if len(images) != len(labels) or not len(labels) or labels.max() >= len(CLASSES):
        raise BadInputError(f"{folder}: {prefix} images and labels do not belong together")
    return Split(images[:, None], labels.astype(np.int64))


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    advice = "apt-get install dataset-fashion-mnist, or --set data.path=DIR with its four IDX files"
    raise BadInputError(f"Fashion-MNIST is not in {folder}: {advice}")
