"""Samples out of a folder of sounds: windows as long as the model's input, spread evenly over all files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgekd.errors import BadInputError
from edgekd.onnx_import.inputs import Arrays, Shapes, input_dtype, model_inputs, sizes_of
from edgekd.onnx_import.wav import read_wav, wav_frames, wav_paths


@dataclass(frozen=True)
class AudioSamples:
    """Windows of every .wav file below a folder, from -1 to 1, one after the other.

    Attributes:
        sizes: the model's input by name, where it leaves its length free.
        rate: what the files have to have, in Hz.
    """

    path: Path
    sizes: Shapes
    rate: int | None = None
    notes: tuple[str, ...] = ()

    def shapes(self, model: onnx.ModelProto) -> Shapes:
        """The given ones."""
        return self.sizes

    def read(self, model: onnx.ModelProto, limit: int, batch_axes: Mapping[str, int]) -> Arrays:
        """In the order of the files' names; BadInputError where none is as long as a window."""
        value, shape = self._place(model)
        length = shape[-1]
        places = [
            (path, start)
            for path in wav_paths(self.path)
            for start in range(0, wav_frames(path, self.rate) - length + 1, length)
        ]
        if not places:
            raise BadInputError(f"{self.path}: no file is as long as the model's input, {length} moments")
        chosen = np.linspace(0, len(places) - 1, min(limit, len(places))).round().astype(int)
        windows = np.stack([read_wav(path, start, length) for path, start in (places[index] for index in chosen)])
        return {value.name: windows.reshape(-1, *shape).astype(input_dtype(value))}

    def _place(self, model: onnx.ModelProto) -> tuple[onnx.ValueInfoProto, tuple[int, ...]]:
        """The model's one input, and its shape without the batch: a length, and ones before it."""
        values = model_inputs(model)
        if len(values) != 1:
            names = ", ".join(value.name for value in values)
            raise BadInputError(
                f"--audio needs a model of one input, this takes {names}: make settings and first states "
                "constants with --set INPUT=VALUE, or use --calibration X.npz"
            )
        (value,) = values
        declared = sizes_of(value)
        sizes = [mine or theirs for mine, theirs in zip(declared, self.sizes.get(value.name, declared), strict=False)]
        shape = tuple(size or 0 for size in sizes[1:])
        if not shape or any(size != 1 for size in shape[:-1]):
            raise BadInputError(f"--audio: {value.name} takes {tuple(declared)}, no sound: use --calibration X.npz")
        if not shape[-1]:
            raise BadInputError(f"--audio needs a length: --shape {value.name}={','.join(['1'] * len(shape))},16000")
        return value, shape
