"""A stratified subset of Fashion-MNIST (8,000 + 2,000) that ships with edgekd; see `fashion_mnist_subset.LICENSE`."""

from importlib.resources import as_file, files

from edgekd.data.fashion_mnist import CLASSES
from edgekd.data.npz import read_npz
from edgekd.data.raw import Raw, from_arrays
from edgekd.errors import BadInputError
from edgekd.recipe import Data


def read(data: Data) -> Raw:
    """The embedded arrays; made by `benchmarks/make_fashion_subset.py`."""
    if data.path:
        raise BadInputError(
            "fashion-mnist-subset ships with edgekd and takes no data.path; did you mean 'fashion-mnist'?"
        )
    with as_file(files("edgekd.data") / "fashion_mnist_subset.npz") as path:
        raw = from_arrays(read_npz(path), "fashion-mnist-subset")
    return Raw(raw.train, raw.test, CLASSES)
