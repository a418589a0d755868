"""Recordings in folders: what is read is what was written, and what cannot be is named."""

import wave
from pathlib import Path

import numpy as np
import pytest

from edgekd import data
from edgekd.data.audio_folder import samples
from edgekd.errors import BadInputError
from edgekd.recipe import Data


def save(path: Path, values: np.ndarray, width: int = 2, rate: int = 8000) -> None:
    """Write integers (samples, channels) as WAV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = values.astype("<i4").view(np.uint8).reshape(*values.shape, 4)[..., :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setparams((values.shape[1], width, rate, len(values), "NONE", ""))
        file.writeframes(stored)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 2)):
        for kind in ("knock", "rain"):
            for number in range(count):
                save(tmp_path / part / kind / f"{number}.wav", random.integers(-9000, 9000, (40, 1)))
    return tmp_path


def load(folder: Path, **settings: object) -> data.Dataset:
    return data.load(Data(name="audio-folder", path=str(folder), **settings), seed=0)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_is_read_as_it_was_written(tmp_path: Path, width: int) -> None:
    values = np.random.default_rng(width).integers(-(2 ** (8 * width - 1)), 2 ** (8 * width - 1), (30, 2))
    save(tmp_path / "a.wav", values + 128 if width == 1 else values, width)
    wanted = values.T / 2 ** (8 * width - 1)
    np.testing.assert_allclose(samples(tmp_path / "a.wav"), wanted, atol=2**-24)  # float32
    assert samples(tmp_path / "a.wav", 50)[:, 30:].any() == 0
    np.testing.assert_array_equal(samples(tmp_path / "a.wav", 7), samples(tmp_path / "a.wav")[:, :7])


def test_folders_are_classes_and_recordings_signals(folder: Path) -> None:
    found = load(folder)
    assert found.classes == ("knock", "rain")
    assert found.test.inputs.shape == (4, 1, 40)
    np.testing.assert_array_equal(found.test.inputs[0], samples(folder / "test" / "knock" / "0.wav"))
    assert (len(found.train), len(found.val)) == (18, 2)


def test_lengths_that_differ_need_one_and_rates_must_not(folder: Path) -> None:
    save(folder / "train" / "rain" / "2.wav", np.zeros((55, 1), np.int64))
    wanted = r"2\.wav: 55 samples, .*0\.wav 40; data\.options\.length = N cuts recordings and fills them up"
    with pytest.raises(BadInputError, match=wanted):
        load(folder)
    assert load(folder, options={"length": 48}).train.inputs.shape == (18, 1, 48)
    save(folder / "test" / "rain" / "1.wav", np.zeros((40, 1), np.int64), rate=16000)
    with pytest.raises(BadInputError, match=r"1\.wav: 16,000 Hz, .*0\.wav 8,000: bring all recordings to one rate"):
        load(folder, options={"length": 48})


def test_a_broken_recording_is_named_or_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "train" / "rain" / "4.wav").write_bytes(b"RIFF, but no more")
    with pytest.raises(BadInputError, match=r"4\.wav: not a readable WAV file"):
        load(folder)
    assert len(load(folder, skip_broken=1).train) == 17
    assert "train: 1 of 20 samples left out: sample 14 cannot be read" in capsys.readouterr().err


def test_half_a_recording_is_not_filled_up_with_silence(folder: Path) -> None:
    path = folder / "train" / "rain" / "4.wav"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInputError, match=r"4\.wav: is cut short: 30 of 40 samples are there"):
        load(folder, options={"length": 48})
    save(path, np.zeros((0, 1), np.int64))
    with pytest.raises(BadInputError, match=r"4\.wav: 0 samples, where 1 to"):
        load(folder, options={"length": 48})
    save(path, np.zeros((40, 2), np.int64))
    with pytest.raises(BadInputError, match=r"4\.wav: 2 channels, .*0\.wav 1: bring all"):
        load(folder, options={"length": 48})
    whole = (folder / "train" / "rain" / "5.wav").read_bytes()
    path.write_bytes(whole[:20] + b"\3" + whole[21:])  # the format 3: floating point
    with pytest.raises(BadInputError, match=r"4\.wav: not a readable WAV file: unknown format: 3; plain PCM is wanted"):
        load(folder)
