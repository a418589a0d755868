"""Points and embeddings are taught and scored."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import edgekd
from edgekd.data import as_dataset
from edgekd.data._counter import random_words
from edgekd.data.augment import Augmented, flip
from edgekd.errors import BadInputError
from edgekd.tasks.embedding import Embedding
from edgekd.tasks.keypoints import Keypoints
from edgekd.training import evaluate
from tests.tasks.nets import QUICK, Array, squares, vector_net


def cornered(count: int, seed: int) -> tuple[Array, Array]:
    """The rectangle's corners at the top left and at the bottom right, one sample in eight without the second."""
    images, boxes = squares(count, seed)
    first, seen = boxes[:, :2], np.ones((count, 2, 1), np.int64)
    seen[::8, 1] = 0
    return images, np.concatenate([np.stack([first, first + boxes[:, 2:]], axis=1), seen], axis=2)


def sided(count: int, seed: int) -> tuple[Array, Array]:
    images, boxes = squares(count, seed)
    return images, (boxes[:, 0] > 3) * 2 + (boxes[:, 1] > 3)


def taught(data: Any, task: Any, outputs: int) -> None:
    teacher = edgekd.train(vector_net(12, outputs), data, task=task, training=QUICK)
    student = edgekd.distill(teacher, vector_net(6, outputs, seed=1), data, task=task, training=QUICK)
    dataset = as_dataset(data, task=task)
    assert evaluate(student, dataset, dataset.test) > task.chance(dataset.test.labels)[0] + 0.15
    assert 0 <= edgekd.compare(teacher, student, data, task=task).run["distillation"]["agreement"] <= 1


def test_points_are_taught_by_a_teacher() -> None:
    taught((cornered(320, 0), cornered(96, 1)), Keypoints(threshold=0.25), 4)


def test_embeddings_are_taught_by_a_teacher() -> None:
    taught((sided(320, 0), sided(96, 1)), Embedding(), 8)


def test_the_contrastive_loss_is_its_definition() -> None:
    """Eq. 2 of arXiv:2004.11362 in float64; two samples are alone with their label."""
    random = torch.Generator().manual_seed(0)
    vectors, labels = torch.randn(7, 4, generator=random, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 1, 2, 3])
    unit, losses = vectors / vectors.norm(dim=1, keepdim=True), []
    for anchor in range(7):
        others = [other for other in range(7) if other != anchor]
        total = sum(float(torch.exp(unit[anchor] @ unit[other] / 0.1)) for other in others)
        alike = [other for other in others if labels[other] == labels[anchor]]
        if alike:
            chances = [float(torch.exp(unit[anchor] @ unit[other] / 0.1)) / total for other in alike]
            losses.append(-sum(np.log(chance) for chance in chances) / len(alike))
    found = Embedding().loss(vectors, labels)["contrastive"].item()
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-9)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            np.zeros((60, 4)),
            "y_train must hold points (N, K, 2), or (N, K, 3) with what is visible, not float64 (60, 4)",
        ),
        (np.zeros((60, 2, 4)), "y_train holds 4 numbers a point"),
        (np.full((60, 2, 2), np.inf), "y_train is not finite in sample 0"),
        (np.zeros((60, 1, 2)), "y_train holds one point a sample: say how large an object is"),
    ],
)
def test_labels_that_are_no_points_are_one_clear_line(labels: Array, words: str) -> None:
    x = np.zeros((60, 4), np.float32)
    with pytest.raises(BadInputError) as caught:
        as_dataset(((x, labels), (x, labels)), task="keypoints")
    assert words in str(caught.value)


def test_points_move_with_their_images_and_change_sides_in_a_mirror() -> None:
    """Each image has one bright pixel a point, of a brightness of its own: where that is, is where the point is."""
    random, count = np.random.default_rng(0), 64
    points = (
        np.stack([random.choice(28, 3, replace=False) for _ in range(2 * count)]).reshape(count, 2, 3).swapaxes(1, 2)
    )
    labels = np.concatenate([points + 0.5, np.ones((count, 3, 1))], axis=2).astype(np.float32)  # a pixel's middle
    images = np.zeros((count, 1, 28, 28), np.uint8)
    for point, bright in enumerate((50, 100, 150)):
        images[np.arange(count), 0, points[:, point, 1], points[:, point, 0]] = bright
    move = Augmented(("crop", "flip", "color-jitter"), 0, np.arange(count), 0, (28, 28))
    plain = Augmented(("crop", "flip"), 0, np.arange(count), 0, (28, 28))
    found, moved = Keypoints(pairs=((0, 1),)).moved(labels, move), plain(images)[:, 0]
    mirrored = (flip(np.arange(2, dtype=np.uint8).reshape(1, 1, 1, 2).repeat(count, 0), words(count))[:, 0, 0, 0]) == 1
    assert 0 < mirrored.sum() < count
    for sample in range(count):
        for point, bright in enumerate((100, 50, 150) if mirrored[sample] else (50, 100, 150)):
            places = np.argwhere(moved[sample] == bright)
            assert len(places) == found[sample, point, 2]  # what left the image is not visible
            for row, column in places:
                np.testing.assert_array_equal(found[sample, point, :2], [column + 0.5, row + 0.5])
    assert (found[..., 2] == 0).any()
    np.testing.assert_array_equal(Keypoints().moved(labels, replace(move, names=("color-jitter",))), labels)


def words(count: int) -> Array:
    return random_words(0, np.arange(count), 0, "flip")


def test_what_mirrors_images_is_refused_where_nobody_says_what_is_left_and_right() -> None:
    data = cornered(40, 0), cornered(20, 1)
    with pytest.raises(BadInputError, match=r"pairs \(\(0, 2\),\): .* holds the points 0 to 1"):
        as_dataset(data, task=Keypoints(pairs=((0, 2),)))
    with pytest.raises(BadInputError, match="say which points change places then"):
        edgekd.train(vector_net(2, 4), data, task="keypoints", training=QUICK, augmentation=["flip"])
    with pytest.raises(BadInputError, match=r"puts out \(2, 3\) for 2 samples; points are .*: 2 points"):
        edgekd.train(vector_net(2, 3), data, task="keypoints", training=QUICK)


def test_points_that_are_no_pixels_are_not_moved() -> None:
    shares = np.random.default_rng(0).random((8, 3, 2)).astype(np.float32)
    task = Keypoints(pairs=())
    labels, move = task.check(shares, "y_train"), Augmented(("flip",), 0, np.arange(8), 0, (28, 28))
    with pytest.raises(
        BadInputError, match="within one pixel of the corner of images of 28×28: give x and y in pixels"
    ):
        task.moved(labels, move)
    for harmless in (replace(move, names=("color-jitter",)), replace(move, names=("rotate3d",), size=(30,))):
        np.testing.assert_array_equal(task.moved(labels, harmless), labels)


def test_a_point_changes_places_with_one_other() -> None:
    with pytest.raises(BadInputError, match="named once"):
        Keypoints(pairs=((0, 1), (1, 0))).check(np.zeros((4, 2, 2)), "y_train")
