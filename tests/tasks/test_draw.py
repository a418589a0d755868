"""Labels drawn into images: boxes are outlines, classes of pixels a tint, and nothing else changes."""

import numpy as np

from edgekd.tasks.classification import Classification
from edgekd.tasks.detection import Detection
from edgekd.tasks.segmentation import Segmentation

IMAGE = np.full((20, 30, 3), 100, np.uint8)


def test_a_box_is_an_outline_in_its_classes_colour() -> None:
    labels = np.array([[3, 4, 10, 12, 0], [12, 2, 30, 20, 1], [0, 0, 9, 9, -1]], np.float32)
    changed = (Detection().draw(IMAGE, labels) != IMAGE).any(axis=2)
    wanted = np.zeros((20, 30), bool)
    for x1, y1, x2, y2 in ((3, 4, 10, 12), (12, 2, 30, 20)):
        wanted[y1:y2, x1:x2] = True
        wanted[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1] = False
    np.testing.assert_array_equal(changed, wanted)
    drawn = Detection().draw(IMAGE, labels)
    assert drawn[4, 3].tolist() != drawn[2, 12].tolist()


def test_a_box_beyond_the_image_is_cut() -> None:
    labels = np.array([[-9, -9, 99, 5, 0], [40, 40, 50, 50, 0]], np.float32)
    assert Detection().draw(IMAGE, labels).shape == IMAGE.shape


def test_classes_of_pixels_are_a_tint_and_the_ground_stays() -> None:
    labels = np.zeros((20, 30), np.uint8)
    labels[:5], labels[5:9] = 2, 255
    drawn = Segmentation().draw(IMAGE, labels)
    assert (drawn[:5] != IMAGE[:5]).any(axis=2).all()
    np.testing.assert_array_equal(drawn[5:], IMAGE[5:])


def test_a_class_of_the_whole_image_has_no_place_in_it() -> None:
    assert Classification().draw(IMAGE, np.array(3)) is None
