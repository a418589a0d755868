"""Boxes from COCO, Pascal VOC and YOLO: the same arrays from each, resized with their images, and faults named."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekd.data import _pictures, load
from edgekd.data.dataset import Dataset
from edgekd.data.sources import Rows
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from edgekd.tasks.detection import Detection
from tests.data.drawn import WRITERS, write_coco, write_voc, write_yolo

SIZE = [32, 48]  # height and width
WANTED = {  # the boxes of tests.data.drawn where all images are so large
    (4, 8, 24, 24, 1), (0, 0, 48, 32, 0),
    (12, 8, 36, 24, 1),
}  # fmt: skip


def loaded(name: str, root: Path, **options: object) -> Dataset:
    return load(Data(name=name, path=str(root), options={"size": SIZE, **options}), seed=2)  # holds a box out


def all_boxes(data: Dataset) -> set[tuple[float, ...]]:
    boxes = np.concatenate([data.train.labels, data.val.labels])
    return {tuple(np.rint(box).tolist()) for box in boxes[boxes[..., 4] >= 0]}


@pytest.mark.parametrize("name", WRITERS)
def test_a_format_gives_images_and_their_boxes(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    data = loaded(name, tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.task == Detection()
    assert data.test.inputs.shape == (3, 3, 32, 48)
    assert all_boxes(data) == WANTED
    for image, sample in zip(data.test.inputs, data.test.labels, strict=True):
        x1, y1, x2, y2, number = map(int, np.rint(sample[0]))  # drawn last: on top
        if number >= 0:
            assert abs(image[:, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].mean() - (90 + 100 * number)) < 6  # resampled edges
        else:
            assert (image == 20).all()


def test_a_set_may_have_another_name(tmp_path: Path) -> None:
    write_coco(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "test.json").rename(tmp_path / "annotations" / "instances_val2017.json")
    (tmp_path / "test").rename(tmp_path / "val2017")
    assert len(loaded("coco", tmp_path, test="val2017").test) == 3
    with pytest.raises(BadInputError, match=r"no set 'test' with images; data\.options\.test names another"):
        loaded("coco", tmp_path)


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_boxes_that_were_drawn_in_an_image_of_another_size_are_refused(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path)
    if name == "coco":
        document = json.loads(path.read_text())
        document["images"][0] |= {"width": 48, "height": 32}
        path.write_text(json.dumps(document))
    else:
        sizes = "<size><width>48</width><height>0</height><depth>3</depth></size>"  # 0: not known
        path.write_text(path.read_text().replace("<object>", f"{sizes}<object>", 1))
    said = "32" if name == "coco" else r"\?"
    with pytest.raises(BadInputError, match=rf"0\.png: is 24×16, its boxes were drawn where it was 48×{said}"):
        loaded(name, tmp_path)


def test_boxes_that_are_not_in_their_images_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As where a corner stands in the place of width and height; whatever options the task has."""
    path = write_coco(tmp_path)
    document = json.loads(path.read_text())
    first, _, third, *_ = document["annotations"]
    first["bbox"], third["bbox"] = [12, 4, 24, 12], [3, 8, 9, 0]  # two in two images; the one between is at the edge
    path.write_text(json.dumps(document))
    load(Data(name="coco", path=str(tmp_path), options={"size": SIZE}), 2, task=Detection(stride=4))
    told = [line for line in capsys.readouterr().err.splitlines() if "boxes reach out" in line]
    assert told == [
        "warning: 2 of 3 boxes reach out of their images or are empty, and were cut or left out: "
        f"1 of 2 in {tmp_path / 'train' / '0.png'}"
    ]


def test_boxes_in_yolo_files_of_no_image_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stray = write_yolo(tmp_path).with_name("4.txt")
    stray.write_text("0 0.5 0.5 0.5 0.5")
    stray.with_name("classes.txt").write_text("cat")
    loaded("yolo", tmp_path)
    said = capsys.readouterr().err
    assert f"warning: text files of no image (.bmp, .jpeg, .jpg, .png, .webp): 1, such as {stray}" in said
    assert said.count("of no image") == 1


def test_a_yolo_set_may_have_a_folder_of_its_own(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        for kind in ("images", "labels"):
            (tmp_path / kind / part).rename(tmp_path / part / kind)
    assert all_boxes(loaded("yolo", tmp_path)) == WANTED


def test_what_a_yolo_set_lacks_is_named(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n\ndog\n")
    with pytest.raises(BadInputError, match=r"classes\.txt: line 2 names no class"):
        loaded("yolo", tmp_path)
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(BadInputError, match=r"classes\.txt: no such file; .* as data\.yaml's `names` have them"):
        loaded("yolo", tmp_path)
    (tmp_path / "labels" / "train").rename(tmp_path / "labels" / "training")
    with pytest.raises(BadInputError, match="labels.train: no such folder"):
        loaded("yolo", tmp_path)


def test_mixed_sizes_need_one_to_be_brought_to(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    with pytest.raises(BadInputError, match=r"1\.png: is 12×32, .*0\.png is 24×16; .* data\.options\.size = "):
        load(Data(name="yolo", path=str(tmp_path)), seed=0)


def test_options_of_the_task_are_the_recipes(tmp_path: Path) -> None:
    write_voc(tmp_path)
    data = Data(name="voc", path=str(tmp_path), options={"size": SIZE})
    assert load(data, 2, task=Detection(stride=4)).task == Detection(stride=4)


def test_too_many_images_for_memory_are_read_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_coco(tmp_path)
    in_memory = loaded("coco", tmp_path).test
    monkeypatch.setattr(_pictures, "IN_MEMORY", 100)
    later = loaded("coco", tmp_path).test
    assert isinstance(later.inputs, Rows)
    np.testing.assert_array_equal(later.inputs[:], in_memory.inputs)
    np.testing.assert_array_equal(later.labels, in_memory.labels)


def test_what_is_wrong_with_coco_is_named(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    whole = json.loads(path.read_text())

    def said(**changes: object) -> str:
        path.write_text(json.dumps(whole | changes))
        with pytest.raises(BadInputError) as caught:
            loaded("coco", tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    box = whole["annotations"][0]
    assert "train.json: missing key 'annotations.0.bbox.3'" in said(annotations=[box | {"bbox": [1, 2, 3]}])
    assert "annotations.0 is of an image or a category that is not listed" in said(annotations=[box | {"image_id": 99}])
    assert "annotations.0.bbox must be x, y, width and height" in said(annotations=[box | {"bbox": [9, 9, -4, 2]}])
    image, dog = whole["images"][0], whole["categories"][0]
    assert "train.json: several images have the id 10" in said(images=[image, image | {"file_name": "1.png"}])
    assert "several categories have the id 18" in said(categories=[dog, dog | {"name": "bird"}])
    assert "several categories have the name 'dog'" in said(categories=[dog, dog | {"id": 19}])
    assert "train.json: categories: " in said(categories=None)
    outside = said(images=[{"id": 10, "file_name": "../../etc/passwd"}], annotations=[])
    assert "the image '../../etc/passwd' is not inside" in outside
    other = [{"id": 18, "name": "dog"}, {"id": 3, "name": "cow"}]
    assert "'cat' is not a class of the training set" in said(categories=other)


def test_what_is_wrong_with_voc_is_named(tmp_path: Path) -> None:
    path = write_voc(tmp_path)

    def said(text: str) -> str:
        path.write_text(text)
        with pytest.raises(BadInputError) as caught:
            loaded("voc", tmp_path)
        return str(caught.value)

    bomb = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;">]><annotation>&c;</annotation>'
    assert "0.xml: not valid XML: it declares a document type" in said(bomb)
    outside = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>'
    assert "it declares a document type" in said(outside)
    assert "it is nested too deeply" in said("<a>" * 10_000)
    assert "0.xml: not valid XML" in said("<annotation><object></annotation>")
    assert "an object without name" in said("<annotation><object/></annotation>")
    edges = "<xmin>1</xmin><ymin>{}</ymin><xmax>5</xmax><ymax>5</ymax>"
    named = "<annotation><object><name>dog</name><bndbox>{}</bndbox></object></annotation>"
    assert "bndbox: could not convert string to float: 'x'" in said(named.format(edges.format("x")))
    assert "the box 1, 9, 5, 5 must have" in said(named.format(edges.format("9")))
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("../0\n")
    assert "train.txt: '../0' has '/' in it" in said("<annotation/>")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.5", "0.txt: line 1 must be a class and x, y, width and height"),
        ("0 0.5 0.5 0.5 x", "0.txt: line 1 must be a class and x, y, width and height"),
        ("0 12 0.5 0.5 0.5", "as shares of the image, 0 to 1"),
        ("0 nan 0.5 0.5 0.5", "as shares of the image, 0 to 1"),
        ("2 0.5 0.5 0.5 0.5", "has the class '2'; classes.txt names the classes 0 to 1"),
    ],
)
def test_what_is_wrong_with_yolo_is_named(line: str, words: str, tmp_path: Path) -> None:
    write_yolo(tmp_path).write_text(line)
    with pytest.raises(BadInputError) as caught:
        loaded("yolo", tmp_path)
    assert words in str(caught.value)
