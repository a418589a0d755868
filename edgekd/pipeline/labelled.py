"""What `--data` names: the labelled samples of an npz, of a folder of images, or of the data that a recipe names."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekd.bundle import Manifest
from edgekd.data._class_folders import listing
from edgekd.data._picked import Picked
from edgekd.data._pictures import SUFFIXES, Pictures
from edgekd.data.dataset import Array, Dataset
from edgekd.data.npz import map_npz
from edgekd.data.sources import Rows
from edgekd.errors import BadInputError
from edgekd.pipeline.plan import load_data
from edgekd.progress import SILENT, Reporter
from edgekd.recipe import load_recipe

Inputs = Array | Rows
Labelled = tuple[Mapping[str, Inputs], str, Array]
"""The bundle's inputs in their order, by what their source calls them; the name of the labels there, and the labels."""


def read_labelled(path: Path, manifest: Manifest, reporter: Reporter = SILENT) -> Labelled:
    """Return labelled samples for a bundle; images of a folder are read when they are asked for.

    `path` is an npz (x and y, or x_test and y_test; of several inputs an array for each, of its name), a folder with a
    folder of images for each class, itself or in `test/`, or a recipe, whose test split is taken.
    Raises BadInputError for what lacks an input or the labels, or has other classes than the bundle.
    """
    if path.is_dir():
        return _of_folder(path, manifest, reporter)
    return _of_recipe(path, manifest, reporter) if path.suffix == ".toml" else _of_npz(path, manifest)


def _of_npz(path: Path, manifest: Manifest) -> Labelled:
    arrays, several = map_npz(path), _several(manifest)
    for x, y in (("x", "y"), ("x_test", "y_test")):
        names = several or [x]
        if all(name in arrays for name in (*names, y)):
            return {name: arrays[name] for name in names}, y, arrays[y]
    wanted = f"{', '.join(several)} and y (or y_test)" if several else "x and y (or x_test and y_test)"
    there = ", ".join(arrays) or "nothing"
    raise BadInputError(f"{path}: needs arrays {wanted}; there is: {there}")


def _of_folder(path: Path, manifest: Manifest, reporter: Reporter) -> Labelled:
    """Classes by the names of their folders, images brought to the size that the bundle takes."""
    classes, shape = _classes(manifest), manifest.inputs[0].sample_shape
    sizes = [size for size in shape if size is not None]
    if not classes or len(manifest.inputs) > 1 or len(sizes) != len(shape) or len(sizes) != 3:
        raise BadInputError(
            f"{path}: a folder of images is for a bundle of one image that knows the names of its classes, which "
            f"{manifest.name} is not: give an npz with x and y, or a recipe's .toml"
        )
    channels, height, width = sizes
    files = listing(path / "test" if (path / "test").is_dir() else path, classes, SUFFIXES, "images", manifest.name)
    for note in files.notes:
        reporter.warn(note)
    return {"x": Pictures(files.paths, (channels, height, width)).rows()}, "y", files.labels


def _of_recipe(path: Path, manifest: Manifest, reporter: Reporter) -> Labelled:
    """The test split; its classes, where they are in another order than the bundle's, by their names."""
    data = load_data(load_recipe(str(path)), reporter=reporter)
    inputs, labels, several = data.test.inputs, _renumbered(path, data, manifest), _several(manifest)
    if not several:
        return {"x_test": inputs[:] if isinstance(inputs, Picked) else inputs}, "y_test", labels
    there = inputs.dtype.names or ()
    if missing := [name for name in several if name not in there]:
        raise BadInputError(f"{path}: {manifest.name} takes {', '.join(several)}; its data have no {missing[0]!r}")
    whole = np.asarray(inputs)
    return {name: whole[name] for name in several}, "y_test", labels


def _renumbered(path: Path, data: Dataset, manifest: Manifest) -> Array:
    """The test split's labels as the bundle counts classes."""
    known, labels = _classes(manifest), data.test.labels
    if not known or not data.classes or data.classes == known:
        return labels
    by_name = len(set(known)) == len(known) and set(data.classes) <= set(known)  # ImageNet has two cranes
    if by_name and labels.ndim == 1:
        return np.array([known.index(name) for name in data.classes])[labels]
    theirs, ours = ", ".join(data.classes), ", ".join(known)
    raise BadInputError(
        f"{path}: its classes are {theirs}, those of {manifest.name} {ours}: give the data those, in order"
    )


def _several(manifest: Manifest) -> list[str]:
    """The names of inputs; none where there is one alone."""
    return [spec.name for spec in manifest.inputs if len(manifest.inputs) > 1]


def _classes(manifest: Manifest) -> tuple[str, ...]:
    return next((spec.labels for spec in manifest.outputs if spec.labels), ())
