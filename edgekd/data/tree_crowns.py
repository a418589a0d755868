"""Crowns of trees in aerial images of Yellowstone, 10 cm a pixel (Weinstein et al., doi:10.3390/rs11111309).

Images and boxes come from the package `deepforest` (MIT licence) as they are installed and are not part of edgekd; the
images are NEON's airborne camera imagery (CC0 1.0). One image trains, but for a strip at its bottom, which validates;
another one tests. Training tiles overlap by half; those that validate or test cover every tree once.
"""

from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from edgekd.data._packages import package_file
from edgekd.data._pictures import pixels, size_of
from edgekd.data.dataset import Array, Split
from edgekd.data.raw import Raw
from edgekd.data.voc import objects
from edgekd.recipe import Data
from edgekd.schema import Schema
from edgekd.tasks.detection import Detection, padded

TRAIN, TEST = "2019_YELL_2_528000_4978000_image_crop2", "2019_YELL_2_541000_4977000_image_crop"
STRIP = 2  # rows of tiles at the bottom that validate
ADVICE = "pip install --no-deps deepforest==2.1.0, or --set data.path=FOLDER of its images"


class Options(Schema):
    """How many pixels wide and high a tile is."""

    tile: PositiveInt = 192


def read(data: Data) -> Raw:
    """Return colour tiles (N, 3, 192, 192) uint8 and boxes (N, M, 5), from `data.path` or the package deepforest."""
    tile = Options.parse(data.options, f"data {data.name!r}: options").tile
    image, boxes = _scene(data.path, TRAIN)
    below = image.shape[1] - STRIP * tile
    train = _tiles(image[:, :below], boxes, tile, tile // 2)
    val = _tiles(image[:, below:], boxes - [0, below, 0, below], tile, tile)
    return Raw(train, _tiles(*_scene(data.path, TEST), tile, tile), ("tree",), val, Detection())


def _scene(folder: str | None, name: str) -> tuple[Array, Array]:
    """An image (3, H, W) and its boxes (n, 4)."""
    paths = [
        Path(folder) / f"{name}.{kind}" if folder else package_file("deepforest", f"data/{name}.{kind}", ADVICE)
        for kind in ("png", "xml")
    ]
    return pixels(paths[0], (3, *size_of(paths[0]))), np.array([box for _, box in objects(paths[1])], np.float64)


def _tiles(image: Array, boxes: Array, tile: int, step: int) -> Split:
    """Tiles that begin every `step` pixels, black beyond the image, with the boxes whose centre is inside."""
    height, width = image.shape[1:]
    lengths = [tile + step * max(0, -(-(side - tile) // step)) for side in (height, width)]
    padded_image = np.pad(image, ((0, 0), (0, lengths[0] - height), (0, lengths[1] - width)))
    inputs, labels = [], []
    for top in range(0, lengths[0] - tile + 1, step):
        for left in range(0, lengths[1] - tile + 1, step):
            inputs.append(padded_image[:, top : top + tile, left : left + tile])
            labels.append(_inside(boxes - [left, top, left, top], tile))
    return Split(np.stack(inputs), padded(labels))


def _inside(boxes: Array, tile: int) -> Array:
    """Those whose centre is in a tile, cut at its edges, (m, 5): there is one class."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    kept = ((middle >= 0) & (middle < tile)).all(axis=1)
    return np.pad(boxes[kept].clip(0, tile), ((0, 0), (0, 1)))
