"""Sound in WAV files: integers of 8 to 32 bits, read with Python's own module."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import BadInputError
from edgekd.reading import reading


def wav_paths(folder: Path) -> list[Path]:
    """Every .wav file below a folder, by name; raise BadInputError where there is none."""
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".wav" and path.is_file())
    if not found:
        raise BadInputError(f"{folder}: there is no .wav file in it; ffmpeg -i in.mp3 -ar 16000 out.wav writes one")
    return found


def wav_frames(path: Path, rate: int | None = None) -> int:
    """How many moments a file has; raise BadInputError for one that is no WAV, or of another `rate` (Hz)."""
    with reading(path, "a WAV file of integers"), wave.open(str(path), "rb") as file:
        if rate is not None and file.getframerate() != rate:
            raise BadInputError(
                f"it has {file.getframerate()} Hz, the model takes {rate}: ffmpeg -i {path.name} -ar {rate} new.wav"
            )
        return file.getnframes()


def read_wav(path: Path, start: int, count: int) -> NDArray[np.float32]:
    """Moments of a file, all channels mixed, from -1 to 1; raise BadInputError for one that is no WAV."""
    with reading(path, "a WAV file of integers"), wave.open(str(path), "rb") as file:
        file.setpos(start)
        data, width, channels = file.readframes(count), file.getsampwidth(), file.getnchannels()
    bits = np.zeros((len(data) // width, 4), np.uint8)
    bits[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
    if width == 1:
        bits[:, 3] ^= 0x80  # 8 bits are unsigned
    whole = bits.view("<i4").reshape(-1, channels).astype(np.float64)
    return np.asarray(whole.mean(axis=1) / 2**31, np.float32)
