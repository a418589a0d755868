"""The options of `edgekd export` that say where samples come from, checked."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from edgekd.errors import BadInputError
from edgekd.onnx_import.samples import ImageSamples, Samples


def only_samples(*given: Samples | None) -> Samples | None:
    """The one source of samples that was asked for; raise BadInputError for several."""
    found = [samples for samples in given if samples is not None]
    if len(found) > 1:
        raise BadInputError("--calibration, --images and --random are three ways to one thing: give one of them")
    return found[0] if found else None


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
