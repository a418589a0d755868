"""Sounds as samples: every sample size that WAV files have, windows over all files, and what cannot be taken."""

import wave
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from edgekd.errors import BadInputError
from edgekd.onnx_import.audio import AudioSamples
from edgekd.onnx_import.sample_options import calibration_samples
from edgekd.onnx_import.wav import read_wav, wav_frames
from tests.quantization.onnx_models import model

RATE = 8000


def write(path: Path, values: np.ndarray, width: int = 2) -> None:
    """Values from -1 to 1, (moments, channels)."""
    whole = np.clip(np.rint(values * 2 ** (8 * width - 1)), -(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1)
    stored = (whole.astype(np.int64) + (128 if width == 1 else 0)).astype("<i8")
    data = stored.reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setparams((values.shape[1], width, RATE, len(values), "NONE", ""))
        file.writeframes(data)


def net(*shape: int | str):
    return model([helper.make_node("Relu", ["x"], ["y"])], {}, shape, output_rank=len(shape))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_sounds_are_read_as_they_were_written(tmp_path: Path, width: int, channels: int) -> None:
    """Within half a step of their integers."""
    values = np.random.default_rng(0).uniform(-1, 0.99, (50, channels))
    write(tmp_path / "a.wav", values, width)
    assert wav_frames(tmp_path / "a.wav", RATE) == 50
    found = read_wav(tmp_path / "a.wav", 10, 30)
    np.testing.assert_allclose(found, values[10:40].mean(1), atol=0.5 / 2 ** (8 * width - 1) + 1e-7)


def test_windows_are_spread_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for number, place in enumerate((tmp_path / "a.wav", tmp_path / "more" / "b.WAV")):
        write(place, np.full((100, 1), 0.25 * (number + 1)))
    found = AudioSamples(tmp_path, {"x": (1, 1, 10)}).read(net("N", 1, "T"), 4, {})["x"]
    assert found.shape == (4, 1, 10)
    np.testing.assert_allclose(found[:, 0, 0], [0.25, 0.25, 0.5, 0.5], atol=1e-4)
    assert AudioSamples(tmp_path, {}).read(net("N", 30), 512, {})["x"].shape == (6, 30)


@pytest.mark.parametrize(
    ("shape", "rate", "words"),
    [
        (("N", 10), 16000, "it has 8000 Hz, the model takes 16000: ffmpeg -i a.wav -ar 16000 new.wav"),
        (("N", 1000), None, "no file is as long as the model's input, 1000 moments"),
        (("N", "T"), None, "--audio needs a length: --shape x=1,16000"),
        (("N", 3, 8, 8), None, "no sound: use --calibration X.npz"),
    ],
)
def test_what_cannot_be_taken_says_what_to_type(tmp_path: Path, shape: tuple, rate: int | None, words: str) -> None:
    write(tmp_path / "a.wav", np.zeros((100, 1)))
    with pytest.raises(BadInputError) as error:
        AudioSamples(tmp_path, {}, rate).read(net(*shape), 8, {})
    assert words in str(error.value)


CODE = """
import numpy as np
def arrays():
    return {"x": np.arange(20, dtype=np.float32).reshape(5, 4)}
def one_by_one():
    for number in range(1000):
        yield np.full(4, number, np.float32)
def nothing():
    return []
def failing():
    return {}["key"]
"""


def test_a_function_gives_samples_together_or_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "feeding_samples.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    taker = net("N", 4)
    assert calibration_samples("feeding_samples:arrays").read(taker, 3, {})["x"].shape == (3, 4)
    many = calibration_samples("feeding_samples:one_by_one")
    assert many.shapes(taker) == {"x": (512, 4)}
    assert many.read(taker, 600, {})["x"][-1, 0] == 511
    for name, words in (("nothing", "it gives no sample"), ("failing", "key"), ("absent", "has no 'absent'")):
        with pytest.raises(BadInputError, match=words):
            calibration_samples(f"feeding_samples:{name}")
