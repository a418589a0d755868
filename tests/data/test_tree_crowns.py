"""Tiles of two aerial images: every tree once where it counts, and no pixel of one split in another."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd.data import load
from edgekd.data.tree_crowns import TEST, TRAIN
from edgekd.errors import BadInputError
from edgekd.recipe import Data

needs_deepforest = pytest.mark.skipif(find_spec("deepforest") is None, reason="needs make data")


def write(folder: Path, name: str, width: int, height: int, boxes: list[tuple[int, int, int, int]]) -> None:
    """An image whose pixels hold their column and row."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    Image.fromarray(np.stack([columns, rows, rows * 0 + 7], axis=2)).save(folder / f"{name}.png")
    edges = ("xmin", "ymin", "xmax", "ymax")
    objects = ["".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(edges, box, strict=True)) for box in boxes]
    text = "".join(f"<object><name>Tree</name><bndbox>{each}</bndbox></object>" for each in objects)
    (folder / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, TRAIN, 64, 80, [(2, 2, 10, 12), (60, 40, 64, 47), (20, 50, 30, 66)])
    write(tmp_path, TEST, 40, 20, [(14, 3, 20, 9), (30, 12, 40, 20)])
    return tmp_path


def tiles(folder: Path):
    return load(Data(name="tree-crowns", path=str(folder), options={"tile": 16}), seed=0)


def test_tiles_overlap_by_half_in_training_alone(folder: Path) -> None:
    data = tiles(folder)
    assert data.train.inputs.shape == (7 * 5, 3, 16, 16)  # every 8 pixels of 64 × (80 - 32)
    assert data.val.inputs.shape == (4 * 2, 3, 16, 16)
    assert data.test.inputs.shape == (3 * 2, 3, 16, 16)  # 40 × 20, filled up to 48 × 32
    assert data.train.inputs[:, 1].max() == 47
    assert data.val.inputs[:, 1].min() == 48
    assert not data.test.inputs[-1, :, 5:, 9:].any()


def test_a_box_is_where_its_crown_is_and_once_where_it_counts(folder: Path) -> None:
    data = tiles(folder)
    begins = {(2, 2), (60, 40), (20, 50), (14, 3), (30, 12)}
    for split in (data.train, data.val, data.test):
        for image, sample in zip(split.inputs, split.labels, strict=True):
            for x1, y1, _, _, number in sample[sample[:, 4] >= 0].astype(int):
                assert number == 0
                column, row = map(int, image[:2, y1, x1])
                assert (column, row) in begins or x1 == 0 or y1 == 0
    counts = [int((split.labels[..., 4] >= 0).sum()) for split in (data.val, data.test)]
    assert counts == [1, 2]
    cut = data.val.labels[data.val.labels[..., 4] >= 0][0]
    assert cut.tolist() == [4, 2, 14, 16, 0]  # (20, 50, 30, 66) in the tile that begins at (16, 48) and ends at 64
    assert data.classes == ("tree",)


def test_a_tile_of_no_size_is_named(folder: Path) -> None:
    with pytest.raises(BadInputError, match="tile"):
        load(Data(name="tree-crowns", path=str(folder), options={"tile": 0}), seed=0)


@needs_deepforest
def test_the_installed_images_have_all_their_trees() -> None:
    data = load(Data(name="tree-crowns"), seed=0)
    assert [len(split) for split in (data.train, data.val, data.test)] == [483, 24, 42]
    assert int((data.test.labels[..., 4] >= 0).sum()) == 279
