"""A folder of recordings: train/CLASS/**/*.wav, test/CLASS/**/*.wav and, optionally, val/CLASS/**/*.wav."""

import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from edgekd.data._class_folders import class_folders
from edgekd.data.dataset import Array, Split
from edgekd.data.raw import Raw
from edgekd.data.sources import Pair, Rows
from edgekd.errors import BadInputError
from edgekd.reading import reading, require_file
from edgekd.recipe import Data
from edgekd.schema import Schema

IN_MEMORY = 2 * 2**30  # bytes
FRAMES = 2**26  # of one recording: 23 minutes at 48 kHz
ADVICE = "plain PCM is wanted, as `ffmpeg -i IN -c:a pcm_s16le OUT.wav` writes it"


class Options(Schema):
    """Samples of a recording: shorter ones end in silence, longer ones are cut; without it all are as long."""

    length: PositiveInt | None = None


@dataclass(frozen=True)
class Recordings:
    """WAV files, read when asked for as float32 (channels, `length`); what sample i holds is not known here."""

    paths: Sequence[Path]
    length: int | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Pair:
        return samples(self.paths[index], self.length), np.array(0)


def read(data: Data) -> Raw:
    """Recordings under `data.path`, float32 (N, channels, samples) from -1 to 1, all of one rate."""
    options = Options.parse(data.options, f"data {data.name!r}: options")
    classes, found = class_folders(data, {".wav"}, "recordings", Recordings)
    _require_alike([path for files in found.values() for path in files.paths], options.length)
    splits = {part: Split(_inputs(files.paths, options.length), files.labels) for part, files in found.items()}
    notes = tuple(note for files in found.values() for note in files.notes)
    return Raw(splits["train"], splits["test"], classes, splits.get("val"), notes=notes)


def samples(path: Path, length: int | None = None) -> Array:
    """Return a WAV file of 8, 16, 24 or 32 bits (PCM) as float32 (channels, samples), cut or filled up to `length`."""
    with _opened(path) as file:
        width, channels, count = file.getsampwidth(), file.getnchannels(), file.getnframes()
        if not 0 < count <= FRAMES:
            raise BadInputError(f"{path}: {count:,} samples, where 1 to {FRAMES:,} make sense")
        values = _numbers(file.readframes(count), width)
    if len(values) < count * channels:
        raise BadInputError(f"{path}: is cut short: {len(values) // channels:,} of {count:,} samples are there")
    found = values.reshape(-1, channels).T[:, :length]
    missing = 0 if length is None else length - found.shape[1]
    return np.ascontiguousarray(np.pad(found, ((0, 0), (0, missing))))


@contextmanager
def _opened(path: Path) -> Iterator[wave.Wave_read]:
    with reading(path, "a readable WAV file", ADVICE), wave.open(str(require_file(path)), "rb") as file:
        yield file


def _numbers(stored: bytes, width: int) -> Array:
    """Little-endian integers of so many bytes as float32 from -1 to 1; those of one byte are unsigned."""
    if width == 1:
        return (np.frombuffer(stored, np.uint8).astype(np.float32) - 128) / 128
    wide = np.zeros((len(stored) // width, 4), np.uint8)
    wide[:, 4 - width :] = np.frombuffer(stored, np.uint8).reshape(-1, width)
    return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)


def _require_alike(paths: Sequence[Path], length: int | None) -> None:
    """Raise BadInputError, naming the file, where rates, channels or, without a `length`, lengths differ."""
    first = _parameters(paths[0])
    for path in paths:
        found = _parameters(path)
        if found.framerate != first.framerate:
            rates = f"{found.framerate:,} Hz, {paths[0]} {first.framerate:,}"
            raise BadInputError(f"{path}: {rates}: bring all recordings to one rate")
        if found.nchannels != first.nchannels:
            channels = f"{found.nchannels} channels, {paths[0]} {first.nchannels}"
            raise BadInputError(f"{path}: {channels}: bring all recordings to one number of channels")
        if length is None and found.nframes != first.nframes:
            lengths = f"{found.nframes:,} samples, {paths[0]} {first.nframes:,}"
            raise BadInputError(f"{path}: {lengths}; data.options.length = N cuts recordings and fills them up")


def _parameters(path: Path) -> "wave._wave_params":
    with _opened(path) as file:
        return file.getparams()


def _inputs(paths: Sequence[Path], length: int | None) -> Array | Rows:
    """All of them, in memory if they are not too many."""
    recordings = Recordings(paths, length)
    shape = recordings[0][0].shape
    rows = Rows(recordings, np.arange(len(paths)), shape, np.dtype(np.float32))
    return rows[:] if 4 * len(paths) * int(np.prod(shape)) <= IN_MEMORY else rows
