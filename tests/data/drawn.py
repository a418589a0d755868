"""The same small images with boxes, written as COCO, Pascal VOC and YOLO have them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = ((24, 16), (12, 32), (24, 16))  # width and height of the images of each set
CLASSES = ("cat", "dog")
BOXES = {  # of each image: class, x1, y1, x2, y2
    0: [("dog", 2, 4, 12, 12), ("cat", 0, 0, 24, 16)],
    1: [("dog", 3, 8, 9, 24)],
    2: [],
}


def _images(folder: Path, suffix: str = ".png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}{suffix}" for number in range(len(SIZES))]
    for number, (path, (width, height)) in enumerate(zip(paths, SIZES, strict=True)):
        pixels = np.full((height, width, 3), 20, np.uint8)
        for name, x1, y1, x2, y2 in reversed(BOXES[number]):
            pixels[y1:y2, x1:x2] = 90 + 100 * CLASSES.index(name)
        Image.fromarray(pixels).save(path)
    return paths


def write_coco(root: Path) -> Path:
    """Return train.json; the ids of categories have a gap, and one region is a crowd."""
    for part in ("train", "test"):
        paths = _images(root / part)
        numbers = {"cat": 3, "dog": 18}
        annotations = [
            {"image_id": 10 + image, "category_id": numbers[name], "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
            for image, boxes in BOXES.items()
            for name, x1, y1, x2, y2 in boxes
        ]
        annotations.append({"image_id": 12, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1})
        document = {
            "info": {"year": 2026},
            "images": [{"id": 10 + number, "file_name": path.name} for number, path in enumerate(paths)],
            "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "cat"}],
            "annotations": annotations,
        }
        (root / f"{part}.json").write_text(json.dumps(document))
    return root / "train.json"


def write_voc(root: Path) -> Path:
    """Return one annotation; pixels are numbered from 1, and the last one is inside."""
    _images(root / "JPEGImages")
    sets, annotations = root / "ImageSets" / "Main", root / "Annotations"
    sets.mkdir(parents=True)
    annotations.mkdir()
    for part in ("train", "test"):
        (sets / f"{part}.txt").write_text("".join(f"{number}\n" for number in BOXES))
    for number, boxes in BOXES.items():
        objects = "".join(
            f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for name, x1, y1, x2, y2 in boxes
        )
        (annotations / f"{number}.xml").write_text(f"<annotation><folder>x</folder>{objects}</annotation>")
    return annotations / "0.xml"


def write_yolo(root: Path) -> Path:
    """Return one text file; an image without boxes has none."""
    (root / "classes.txt").parent.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("cat\ndog\n")
    for part in ("train", "test"):
        _images(root / "images" / part)
        (root / "labels" / part).mkdir(parents=True)
        for number, boxes in BOXES.items():
            width, height = SIZES[number]
            lines = [
                f"{CLASSES.index(name)} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} "
                f"{(x2 - x1) / width} {(y2 - y1) / height}"
                for name, x1, y1, x2, y2 in boxes
            ]
            if lines:
                (root / "labels" / part / f"{number}.txt").write_text("\n".join(lines))
    return root / "labels" / "train" / "0.txt"


WRITERS: dict[str, Callable[[Path], Path]] = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}
