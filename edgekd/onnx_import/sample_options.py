"""The options of `edgekd export` that say where samples come from, checked."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array
from edgekd.onnx_import.samples import GivenSamples, ImageSamples, NpzSamples, Samples
from edgekd.plugins import told
from edgekd.user_code import custom

MOST = 512  # samples that are asked for one by one


def only_samples(*given: Samples | None) -> Samples | None:
    """The one source of samples that was asked for; raise BadInputError for several."""
    found = [samples for samples in given if samples is not None]
    if len(found) > 1:
        raise BadInputError("--calibration, --images, --audio and --random are ways to one thing: give one of them")
    return found[0] if found else None


def calibration_samples(given: str) -> Samples:
    """An npz file or, as `module:function`, what that gives: arrays by input name, or samples one by one.

    Raises BadInputError where there is no such function, or where it fails or gives something else.
    """
    if ":" not in given or Path(given).exists():
        return NpzSamples(Path(given))
    made = custom(given, "--calibration")
    try:
        found = made()
        if not isinstance(found, Mapping):
            found = _stacked(list(islice(found, MOST)))
        return GivenSamples(given, {str(name): np.asarray(array) for name, array in found.items()})
    except Exception as error:  # the user's own code: anything may come out of it
        raise BadInputError(f"--calibration {given}: {told(error)}") from error


def _stacked(samples: Sequence[Any]) -> dict[str, Array]:
    """Samples, each an array or several by input name, as arrays of all of them."""
    named = [sample if isinstance(sample, Mapping) else {"input": sample} for sample in samples]
    if not named:
        raise BadInputError("it gives no sample")
    return {name: np.stack([np.asarray(sample[name]) for sample in named]) for name in named[0]}


def image_samples(
    folder: Path, size: str | None, scale: str, mean: Sequence[float], deviation: Sequence[float], bgr: bool
) -> ImageSamples:
    """Images by what a user has typed: `640` or `480x640`, `1/255` or `1`; raise BadInputError for anything else."""
    if any(len(values) not in {1, 3} for values in (mean, deviation)) or not all(deviation):
        raise BadInputError("--mean and --std: once, or once for each of three channels; --std is not 0")
    return ImageSamples(folder, _size(size), _factor(scale), tuple(mean), tuple(deviation), bgr)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise BadInputError(f"--size {text!r}: expected 640, or height and width as in 480x640")
    return int(sides[0]), int(sides[-1])


def _factor(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise BadInputError(f"--scale {text!r}: expected a number, as 1/255") from error
