"""Where the samples of a foreign model come from: an npz file, a folder of images, or nowhere (`--random`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx

from edgekd.bundle import Range
from edgekd.data._pictures import pillow
from edgekd.data.image_folder import image_paths
from edgekd.errors import BadInputError
from edgekd.onnx_graph import Array
from edgekd.onnx_import.inputs import (
    Arrays,
    Shapes,
    fitted_inputs,
    input_dtype,
    model_inputs,
    read_inputs,
    shapes_in,
    sizes_of,
)
from edgekd.onnx_import.own_ranges import covered_inputs
from edgekd.onnx_vocabulary import vocabulary
from edgekd.reading import reading

COLORS = {1: "L", 3: "RGB"}
BY_NPZ = "use --calibration X.npz"
TOKENS = 1000  # noise for integers that name no word of a table goes up to here


class Samples(Protocol):
    """Where they come from, and what they are for a model."""

    @property
    def path(self) -> Path | None:
        """What is read."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user has to know."""

    def shapes(self, model: onnx.ModelProto) -> Shapes:
        """The shapes of the model's inputs as the samples have them, as far as they are known."""

    def read(self, model: onnx.ModelProto, limit: int, batch_axes: Mapping[str, int]) -> Arrays:
        """At most `limit` samples by input name, samples first; BadInputError where they do not fit."""


@dataclass(frozen=True)
class NpzSamples:
    """Arrays by input name, as the model takes them."""

    path: Path
    notes: tuple[str, ...] = ()

    def shapes(self, model: onnx.ModelProto) -> Shapes:
        """By the headers of the file."""
        return shapes_in(model, self.path)

    def read(self, model: onnx.ModelProto, limit: int, batch_axes: Mapping[str, int]) -> Arrays:
        """As `inputs.read_inputs`."""
        return read_inputs(model, self.path, limit, batch_axes)


@dataclass(frozen=True)
class GivenSamples:
    """Arrays by input name that code of the user's own has given; `source` is what it is called."""

    source: str
    arrays: Mapping[str, Array]
    path: None = None
    notes: tuple[str, ...] = ()

    def shapes(self, model: onnx.ModelProto) -> Shapes:
        """Those of the arrays."""
        names = [value.name for value in model_inputs(model)]
        found = {name: array.shape for name, array in self.arrays.items()}
        return dict(zip(names, found.values(), strict=True)) if len(names) == len(found) == 1 else found

    def read(self, model: onnx.ModelProto, limit: int, batch_axes: Mapping[str, int]) -> Arrays:
        """As `inputs.fitted_inputs`."""
        return fitted_inputs(model, self.arrays, Path(self.source), limit, batch_axes)


@dataclass(frozen=True)
class ImageSamples:
    """Every image below a folder, squeezed to one size: (pixel · scale - mean) / deviation, by channel.

    Attributes:
        size: (height, width), where the model leaves them free; another than it fixes is refused.
        bgr: whether the model takes blue before red.
    """

    path: Path
    size: tuple[int, int] | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    bgr: bool = False
    notes: tuple[str, ...] = ()

    def shapes(self, model: onnx.ModelProto) -> Shapes:
        """Of the model's one input."""
        value, (channels, height, width), last = self._place(model)
        shape = (1, height, width, channels) if last else (1, channels, height, width)
        return {value.name: shape}

    def read(self, model: onnx.ModelProto, limit: int, batch_axes: Mapping[str, int]) -> Arrays:
        """In the order of their names."""
        value, (channels, height, width), last = self._place(model)
        paths = image_paths(self.path)[:limit]
        images = np.stack([self._image(path, channels, (height, width)) for path in paths])
        arranged = images if last else images.transpose(0, 3, 1, 2)
        dtype = input_dtype(value)
        return {value.name: np.ascontiguousarray(arranged).astype(dtype)}

    def _image(self, path: Path, channels: int, size: tuple[int, int]) -> Array:
        with reading(path, "an image"), pillow().open(path) as image:
            squeezed = image.convert(COLORS[channels]).resize(size[::-1], pillow().Resampling.BILINEAR)
            pixels = np.asarray(squeezed, np.float32).reshape(*size, channels)
        ordered = pixels[..., ::-1] if self.bgr else pixels
        mean, deviation = (np.asarray(values, np.float32) for values in (self.mean, self.deviation))
        return np.asarray((ordered * np.float32(self.scale) - mean) / deviation)

    def _place(self, model: onnx.ModelProto) -> tuple[onnx.ValueInfoProto, tuple[int, int, int], bool]:
        """The model's one input, (channels, height, width), and whether channels are last."""
        values = model_inputs(model)
        sizes = sizes_of(values[0]) if len(values) == 1 else []
        if len(sizes) != 4:
            raise BadInputError(f"--images needs a model of one input with four dimensions: {BY_NPZ}")
        last = sizes[1] not in COLORS and sizes[3] in COLORS
        channels, known = sizes[3] if last else sizes[1], sizes[1:3] if last else sizes[2:]
        given = self.size or (None, None)
        height, width = (size or asked for size, asked in zip(known, given, strict=True))
        if channels is None or channels not in COLORS:
            told = f"input {values[0].name!r} has {channels or 'any number of'} channels, images 1 or 3"
            raise BadInputError(f"{told}: {BY_NPZ}")
        if height is None or width is None:
            raise BadInputError(f"input {values[0].name!r} leaves its height or width free: give --size HEIGHTxWIDTH")
        if self.size not in (None, (height, width)):
            raise BadInputError(f"input {values[0].name!r} has a fixed size: give --size {height}x{width}")
        return values[0], (channels, height, width), last


@dataclass(frozen=True)
class RandomSamples:
    """Noise for every input: deviates for floats, small numbers for integers; sizes from the model or `sizes`."""

    count: int
    sizes: Shapes
    path: None = None
    notes: tuple[str, ...] = (
        "calibrated on noise: good for size, speed and which operators a target takes; its scales, and so its answers "
        "on real inputs, are worth nothing until it is exported with --calibration or --images",
    )

    def shapes(self, model: onnx.ModelProto) -> Shapes:
        """The given ones."""
        return self.sizes

    def read(self, model: onnx.ModelProto, limit: int, batch_axes: Mapping[str, int]) -> Arrays:
        """The same noise each time; within what the model's own quantisers and tables hold."""
        random, count, covered = np.random.default_rng(0), min(self.count, limit), covered_inputs(model)
        values = model_inputs(model)
        shapes = {value.name: self._shape(value, count) for value in values}
        if any(None in shape for shape in shapes.values()):
            open_ones = [value for value in values if None in shapes[value.name]]
            wanted = (f"--shape {value.name}={_spelled(value, batch_axes.get(value.name, 0))}" for value in open_ones)
            raise BadInputError(f"--random needs sizes: {' '.join(wanted)} (numbers for ?)")
        return {
            value.name: _noise(model, value, shapes[value.name], covered.get(value.name), random) for value in values
        }

    def _shape(self, value: onnx.ValueInfoProto, count: int) -> list[int | None]:
        declared = sizes_of(value)
        given = self.sizes.get(value.name, declared)
        return [count, *(mine or theirs for mine, theirs in zip(declared[1:], given[1:], strict=False))]


def _spelled(value: onnx.ValueInfoProto, batch_axis: int) -> str:
    """What is known of an input's sizes, in the order that its file has."""
    first, *sizes = sizes_of(value)
    sizes.insert(batch_axis, first or 1)
    return ",".join(str(size or "?") for size in sizes)


def _noise(
    model: onnx.ModelProto,
    value: onnx.ValueInfoProto,
    shape: Sequence[int | None],
    covered: Range | None,
    random: np.random.Generator,
) -> Array:
    dtype, sizes = input_dtype(value), [size or 1 for size in shape]
    if dtype.kind == "f":
        made = random.standard_normal(sizes) if covered is None else random.uniform(covered.low, covered.high, sizes)
        return made.astype(dtype)
    words = min(vocabulary(model, value.name) or TOKENS, np.iinfo(dtype).max) if dtype.kind in "iu" else 2
    return random.integers(0, words, sizes).astype(dtype)
