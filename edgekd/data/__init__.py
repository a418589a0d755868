"""Data sets by name, as numpy arrays that every plane can use.

A built-in data set is a module here with `read(data: recipe.Data) -> Raw`, or a mapping of arrays, for any task.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgekd import plugins, user_code
from edgekd.bundle import Preprocessing
from edgekd.data._twins import WORTH_TELLING, twins
from edgekd.data.augment import check_names
from edgekd.data.dataset import Array, Dataset, Split, is_tokens, limit, normalisation, prepare, split_validation
from edgekd.data.ranges import hold_against, range_of
from edgekd.data.raw import Raw, from_arrays, from_result, from_user
from edgekd.data.sources import Rows, shown
from edgekd.data.streams import Sized
from edgekd.errors import BadInputError
from edgekd.progress import SILENT, Reporter
from edgekd.reading import reading
from edgekd.recipe import Data
from edgekd.tasks import DEFAULT, Task, find_task, spec_of

__all__ = ["Dataset", "Raw", "Sized", "Split", "as_dataset", "load", "names", "prepare"]

CONSTANT = 1.0  # the deviation that normalisation gives a channel without one
COARSE = 0.01  # of a deviation: steps that are worth telling
_NOT_DATA = {"augment", "check", "dataset", "idx", "ranges", "raw", "sources", "streams"}


def names() -> list[str]:
    """Built-in data sets and formats, spelled as recipes write them."""
    return [name for name in plugins.names(__name__) if name not in _NOT_DATA]


def load(
    data: Data, seed: int, *, task: Task | None = None, any_range: bool = False, reporter: Reporter = SILENT
) -> Dataset:
    """Read what a recipe names; 10 % of train, stratified by class, validates. Raises BadInputError in one line.

    Splits in different number formats are refused, those that only look so warned of; `any_range` takes both.
    """
    check_names(data.augmentation)
    dataset = _checked(_read(data, task), data, seed, any_range, reporter)
    return (
        dataset
        if data.limit is None
        else replace(dataset, train=limit(dataset.train, data.limit, seed, dataset.group_size))
    )


def as_dataset(
    data: Any,
    seed: int = 0,
    *,
    task: str | Task | None = None,
    any_range: bool = False,
    skip_broken: int = 0,
    reporter: Reporter = SILENT,
) -> Dataset:
    """A Dataset from itself or from ((x_train, y_train), (x_test, y_test)), as `load`; raises BadInputError."""
    found = None if task is None else find_task(task)
    return _checked(from_result(data, "data", found, skip_broken), Data(name="data"), seed, any_range, reporter)


def _read(data: Data, task: Task | None) -> Raw | Dataset:
    if ":" in data.name:
        return from_user(user_code.custom(data.name, "data set"), data, task)
    if data.name not in names():
        raise BadInputError(f"unknown data set {data.name!r}{plugins.nearest(data.name, names())}")
    source = plugins.builtin(__name__, data.name, "data set")
    if data.options and not hasattr(source, "Options"):
        raise BadInputError(f"data {data.name!r} has no options; remove data.options")
    with reading(data.path or f"data {data.name!r}", "readable"):
        found: Raw | Mapping[str, Array] = source.read(data)
    if isinstance(found, Mapping):
        return from_arrays(found, data.path or f"data {data.name!r}", task or DEFAULT)
    if task is None or task == found.task:
        return found
    if not isinstance(task, type(found.task)):
        own = spec_of(found.task).name
        raise BadInputError(f"data {data.name!r} is for {own} alone; an npz or a module:function may be for any task")
    return found.taught(task, f"data {data.name!r}")


def _checked(found: Raw | Dataset, data: Data, seed: int, any_range: bool, reporter: Reporter) -> Dataset:
    for note in () if isinstance(found, Dataset) else found.notes:
        reporter.warn(note)
    dataset = found if isinstance(found, Dataset) else _split(found, data, seed)
    _hold_together(dataset, f"data {data.name!r}", any_range, reporter)
    return dataset


def _split(raw: Raw, data: Data, seed: int) -> Dataset:
    train, val = (raw.train, raw.val) if raw.val is not None else split_validation(raw.train, seed=seed, task=raw.task)
    if not len(val):
        raise BadInputError(f"data {data.name!r}: {len(raw.train)} training samples are too few to hold 10 % out")
    return Dataset(data.name, train, val, raw.test, raw.classes, normalisation(train.inputs), raw.task)


def _hold_together(dataset: Dataset, source: str, any_range: bool, reporter: Reporter) -> None:
    """Raise BadInputError unless all splits are written in the number format of the training inputs."""
    train = dataset.train.inputs
    for part, split in (("val", dataset.val), ("test", dataset.test)):
        if is_tokens(split.inputs) != is_tokens(train):
            kinds = f"x_train is {train.dtype} {train.shape}, x_{part} {split.inputs.dtype} {split.inputs.shape}"
            raise BadInputError(f"{source}: {kinds}: signed integers (N, L) are tokens, all else is numbers")
        if dataset.input_range is not None:
            where = f"{source}: x_{part}"
            hold_against(range_of(shown(split.inputs)), dataset.input_range, where, "x_train", reporter.warn, any_range)
    for part, split in (("val", dataset.val), ("test", dataset.test)):
        if why := dataset.task.unscorable(split.labels):
            more = "" if part == "test" else "; give (train, val, test), or more samples to hold 10 % out of"
            raise BadInputError(f"{source}: y_{part} scores nothing: {why}{more}")
    for told in filter(None, (_coarse(dataset.preprocessing), _taught(dataset))):
        reporter.warn(f"{source}: {told}")
    if doubt := dataset.task.doubt(dataset.train.labels, dataset.classes):
        reporter.warn(f"{source}: {doubt}")


def _coarse(preprocessing: Preprocessing) -> str | None:
    """What to say where float32, which networks compute in, keeps too little of a channel."""
    for channel, (mean, std) in enumerate(zip(preprocessing.mean, preprocessing.std, strict=True)):
        step = float(np.spacing(np.float32(abs(mean))))
        if std != CONSTANT and step > COARSE * std:
            spread = f"channel {channel} of x_train is {mean:.6g} ± {std:.2g}"
            return f"{spread}, of which float32 keeps steps of {step:.2g}: subtract what all samples have in common"
    return None


def _taught(dataset: Dataset) -> str | None:
    """What to say where test samples, or pairs, are training samples; None where few are, or nobody can tell."""
    train, test, group = dataset.train.inputs, dataset.test.inputs, dataset.group_size
    if isinstance(train, Rows) or isinstance(test, Rows):
        return None
    known, count = twins(test, train, group), len(test) // group
    what = "samples" if group == 1 else "pairs"
    return (
        f"{known:,} of {count:,} {what} of x_test are in x_train, too: they test memory, not skill"
        if known > WORTH_TELLING * count
        else None
    )
