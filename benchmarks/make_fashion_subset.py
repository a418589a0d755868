"""Make the subset of Fashion-MNIST that ships with edgekd: `python benchmarks/make_fashion_subset.py [--path DIR]`.

800 training and 200 test images of each class, drawn by seed 0 and kept in their original order.
"""

import argparse
from importlib.resources import files
from pathlib import Path

import numpy as np

from edgekd.data import Split, fashion_mnist
from edgekd.files import atomic_path
from edgekd.recipe import Data

TRAIN_PER_CLASS, TEST_PER_CLASS = 800, 200
DEFAULT = Path(str(files("edgekd.data"))) / "fashion_mnist_subset.npz"


def main() -> None:
    """Read the IDX files, write the npz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", help="folder with the four IDX files; default: where Debian's package installs them")
    parser.add_argument("--output", type=Path, default=DEFAULT)
    arguments = parser.parse_args()
    raw = fashion_mnist.read(Data(name="fashion-mnist", path=arguments.path))
    random = np.random.default_rng(0)
    train, test = draw(raw.train, TRAIN_PER_CLASS, random), draw(raw.test, TEST_PER_CLASS, random)
    with atomic_path(arguments.output) as temporary:
        np.savez_compressed(
            temporary,
            x_train=train.inputs,
            y_train=train.labels.astype(np.uint8),
            x_test=test.inputs,
            y_test=test.labels.astype(np.uint8),
        )
    print(f"{arguments.output}: {len(train)} + {len(test)} images, {arguments.output.stat().st_size / 1e6:.1f} MB")


def draw(split: Split, per_class: int, random: np.random.Generator) -> Split:
    """`per_class` samples of every class, in their original order."""
    chosen = [
        random.permutation(np.flatnonzero(split.labels == label))[:per_class] for label in np.unique(split.labels)
    ]
    return split.take(np.sort(np.concatenate(chosen)))


if __name__ == "__main__":
    main()
