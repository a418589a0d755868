"""Data sets by name, as numpy arrays that every plane can use.

A built-in data set is a module here with `read(data: recipe.Data) -> Raw`.
"""

from dataclasses import replace
from typing import Any

from edgekd import plugins, user_code
from edgekd.data.augment import check_names
from edgekd.data.dataset import Dataset, Split, limit, normalisation, prepare, split_validation
from edgekd.data.raw import Raw, from_result, from_user
from edgekd.errors import BadInputError
from edgekd.reading import reading
from edgekd.recipe import Data

__all__ = ["Dataset", "Raw", "Split", "as_dataset", "load", "names", "prepare"]

_NOT_DATA = {"augment", "check", "dataset", "idx", "ranges", "raw"}


def names() -> list[str]:
    """Built-in data sets and formats, spelled as recipes write them."""
    return [name for name in plugins.names(__name__) if name not in _NOT_DATA]


def load(data: Data, seed: int) -> Dataset:
    """Read what a recipe names; 10 % of train, stratified by class, validates. Raises BadInputError in one line."""
    check_names(data.augmentation)
    found = _read(data)
    dataset = found if isinstance(found, Dataset) else _split(found, data, seed)
    return dataset if data.limit is None else replace(dataset, train=limit(dataset.train, data.limit, seed))


def as_dataset(data: Any, seed: int = 0) -> Dataset:
    """A Dataset from itself or from ((x_train, y_train), (x_test, y_test)); raises BadInputError."""
    found = from_result(data, "data")
    return found if isinstance(found, Dataset) else _split(found, Data(name="data"), seed)


def _read(data: Data) -> Raw | Dataset:
    if ":" in data.name:
        return from_user(user_code.custom(data.name, "data set"), data)
    if data.name not in names():
        raise BadInputError(f"unknown data set {data.name!r}{plugins.nearest(data.name, names())}")
    source = plugins.builtin(__name__, data.name, "data set")
    if data.options and not hasattr(source, "Options"):
        raise BadInputError(f"data {data.name!r} has no options; remove data.options")
    with reading(data.path or f"data {data.name!r}", "readable"):
        raw: Raw = source.read(data)
        return raw


def _split(raw: Raw, data: Data, seed: int) -> Dataset:
    train, val = (raw.train, raw.val) if raw.val is not None else split_validation(raw.train, seed=seed)
    if not len(val):
        raise BadInputError(f"data {data.name!r}: {len(raw.train)} training samples are too few to hold 10 % out")
    return Dataset(data.name, train, val, raw.test, raw.classes, normalisation(train.inputs), raw.task)
