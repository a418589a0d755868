from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekd import data
from edgekd.errors import BadInputError
from edgekd.recipe import Data

RED, GREY = np.full((4, 6, 3), (255, 0, 0), np.uint8), np.full((4, 6), 9, np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 10), ("test", 2)):
        for number in range(count):
            save(tmp_path / part / "cat" / f"{number}.png", RED)
            save(tmp_path / part / "dog" / f"{number}.png", GREY)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def load(folder: Path) -> data.Dataset:
    return data.load(Data(name="image-folder", path=str(folder)), seed=0)


def test_folders_are_classes_and_mixed_images_are_colour(folder: Path) -> None:
    dataset = load(folder)
    assert dataset.classes == ("cat", "dog")
    assert dataset.test.inputs.shape == (4, 3, 4, 6)
    np.testing.assert_array_equal(dataset.test.inputs[0], RED.transpose(2, 0, 1))
    np.testing.assert_array_equal(dataset.test.inputs[3], np.stack([GREY] * 3))
    assert (len(dataset.train), len(dataset.val)) == (18, 2)


def test_images_lie_at_any_depth_and_what_is_hidden_is_not_there(folder: Path) -> None:
    (folder / "train" / "cat" / "2026").mkdir()
    (folder / "train" / "cat" / "3.png").rename(folder / "train" / "cat" / "2026" / "3.png")
    (folder / "train" / "cat" / "._4.png").write_bytes(b"a Mac's notes on 4.png")
    dataset = load(folder)
    assert len(dataset.train) + len(dataset.val) == 20


def test_what_is_no_image_is_told_and_a_class_without_images_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (folder / "test" / "dog").iterdir():
        path.rename(path.with_suffix(".tif"))
    load(folder)
    told = capsys.readouterr().err.replace("\n", " ")
    assert "train: left out, as no images: 1 .txt" in told
    assert "test: left out, as no images: 2 .tif" in told
    assert "test: no images (.bmp, .jpeg, .jpg, .png, .webp) of 'dog'" in told
    for path in (folder / "train" / "dog").iterdir():
        path.rename(path.with_suffix(".tif"))
    with pytest.raises(
        BadInputError, match=r"train: no images \(.*\) of 'dog'; .*left out, as no images: 10 .tif, 1 .txt"
    ):
        load(folder)


def test_links_and_images_in_no_class_are_not_passed_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link to a file is as the file; where it leads nowhere, as those of git-annex may, an image is missing."""
    cat = folder / "train" / "cat"
    (cat / "3.png").rename(folder / "train" / "loose.png")
    (cat / "more").symlink_to(folder / "test" / "cat")
    (cat / "3.png").symlink_to(cat / "4.png")
    assert len(load(folder).train) == 18
    told = capsys.readouterr().err
    assert "train: left out, as no images: 1 .txt, 1 more" in told
    assert "train: images beside the folders of classes are left out: 1" in told
    (cat / "4.png").unlink()
    with pytest.raises(BadInputError, match=r"3\.png: no such file"):
        load(folder)


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0)), (99, (0, 0))]
)
def test_a_photograph_is_seen_as_its_exif_turns_it(folder: Path, orientation: int, corner: tuple[int, int]) -> None:
    """Exif 2.32: 3 is upside down, 6 has to be turned clockwise, 8 the other way; 99 means nothing."""
    exif, pixels = Image.Exif(), np.zeros((4, 6, 3), np.uint8)
    exif[0x0112], pixels[0, 0] = orientation, 255
    for path in folder.glob("*/*/*.png"):
        Image.fromarray(pixels).save(path, exif=exif)
    image = load(folder).test.inputs[0]
    assert image.shape == ((3, 6, 4) if orientation in (6, 8) else (3, 4, 6))
    assert (image[:, corner[0], corner[1]] == 255).all()
    assert image.sum() == 3 * 255


def test_grey_images_have_one_channel_and_val_is_used(folder: Path) -> None:
    for path in folder.glob("*/cat/*.png"):
        save(path, GREY + 1)
    save(folder / "val" / "dog" / "0.png", GREY)
    dataset = load(folder)
    assert dataset.train.inputs.shape == (20, 1, 4, 6)
    assert dataset.val.labels.tolist() == [1]


def test_what_is_wrong_is_named(folder: Path) -> None:
    save(folder / "test" / "dog" / "1.png", np.zeros((5, 6), np.uint8))
    with pytest.raises(BadInputError, match=r"1\.png: is 6×5, .* is 6×4; bring all images to one size"):
        load(folder)
    (folder / "test" / "dog" / "1.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(BadInputError, match=r"1\.png: not a readable image"):
        load(folder)
    save(folder / "test" / "dog" / "1.png", np.zeros((4, 6), np.uint16))
    with pytest.raises(BadInputError, match="more than 8 bits"):
        load(folder)
    (folder / "test" / "dog").rename(folder / "test" / "dogs")
    with pytest.raises(BadInputError, match="not a class of train; did you mean 'dog'"):
        load(folder)


def test_images_of_any_size_are_brought_to_one(folder: Path) -> None:
    save(folder / "test" / "dog" / "1.png", np.full((5, 9), 9, np.uint8))
    dataset = data.load(Data(name="image-folder", path=str(folder), options={"size": [8, 10]}), seed=0)
    assert dataset.test.inputs.shape == (4, 3, 8, 10)
    assert (dataset.test.inputs[3] == 9).all()


def test_absent_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="train: no such folder"):
        load(tmp_path)
    (tmp_path / "train" / "only").mkdir(parents=True)
    with pytest.raises(BadInputError, match="at least two classes"):
        load(tmp_path)
    (tmp_path / "train" / "other").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(BadInputError, match="train: no images"):
        load(tmp_path)


def test_up_to_so_many_broken_images_are_left_out_with_their_names(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "train" / "cat" / "3.png").read_bytes()
    (folder / "train" / "cat" / "3.png").write_bytes(whole[: len(whole) // 2])
    (folder / "train" / "dog" / "7.png").write_text("no image")
    recipe = Data(name="image-folder", path=str(folder))
    with pytest.raises(BadInputError, match=r"3\.png: not a readable image"):
        data.load(recipe, seed=0)
    with pytest.raises(BadInputError, match=r"2 samples cannot be read, 1 may be left out; .*7\.png"):
        data.load(recipe.model_copy(update={"skip_broken": 1}), seed=0)
    found = data.load(recipe.model_copy(update={"skip_broken": 2}), seed=0)
    assert len(found.train) + len(found.val) == 18
    said = capsys.readouterr().err
    assert "train: 2 of 20 samples left out: " in said
    assert "3.png" in said
