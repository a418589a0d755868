"""A class for each pixel is taught, by labels and by a teacher, quantised, proven and scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgekd
from edgekd.data import as_dataset
from edgekd.data.augment import Augmented
from edgekd.distillation import Context, Output, load_methods
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from edgekd.tasks.segmentation import Segmentation
from edgekd.training import evaluate
from edgekd.training.batches import Batches
from tests.small_run import complaint
from tests.small_run import edgekd as edgekd_cli
from tests.tasks.nets import FINE, QUICK, Array, map_net, squares

TASK = Segmentation()


def maps(count: int, seed: int) -> tuple[Array, Array]:
    """Images with a rectangle, and which pixels are of it; the last row has no label."""
    images, boxes = squares(count, seed)
    labels = np.zeros((count, 12, 12), np.int64)
    for label, (x, y, width, height) in zip(labels, boxes, strict=True):
        label[y : y + height, x : x + width] = 1
    labels[:, -1] = 255
    return images, labels


def data() -> Any:
    return maps(160, 0), maps(64, 1)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            np.zeros((60, 12)),
            "y_train must hold integer labels (N, H, W), a class for each pixel, not float64 (60, 12)",
        ),
        (np.zeros((60, 12, 12)), "y_train must hold integer labels (N, H, W)"),
        (np.full((60, 12, 12), -1), "y_train holds -1 in sample 0; class indices start at 0, and 255 is ignored"),
        (np.arange(60)[:, None, None] % 3 * 2 + np.zeros((1, 2, 2), int), "no pixel of y_train has class 1, but some"),
        (np.zeros((60, 2, 2), int), "y_train holds one class; there is nothing to tell apart"),
    ],
)
def test_wrong_maps_are_one_clear_line(labels: Array, words: str) -> None:
    x = np.zeros((60, 1, 12, 12), np.uint8)
    with pytest.raises(BadInputError) as caught:
        as_dataset(((x, labels), (x, labels)), task="segmentation")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_with_maps_of_another_size_is_one_clear_line() -> None:
    small = torch.nn.Sequential(map_net(2, 2), torch.nn.MaxPool2d(2))
    words = r"puts out \(2, 2, 6, 6\) for 2 samples; logits are .* as the labels \(N, H, W\), labels here \(2, 12, 12\)"
    with pytest.raises(BadInputError, match=words):
        edgekd.train(small, data(), task="segmentation", training=QUICK)
    with pytest.raises(BadInputError, match="puts out 1 values|puts out .2, 1, 12, 12."):
        edgekd.train(map_net(2, 1), data(), task="segmentation", training=QUICK)


def test_labels_are_moved_with_their_images() -> None:
    """Where an image comes out brighter than noise, its label says so; what came in from outside has none."""
    dataset = as_dataset(data(), task=TASK)
    batch = Batches(dataset, Data(name="maps", augmentation=("crop", "flip")), 32, 0, torch.device("cpu")).at(
        np.arange(32), 1
    )
    images, labels = batch.inputs[:, 0].numpy(), batch.labels.numpy()
    assert (labels != dataset.train.labels[:32]).any()
    bright = images > images[labels == 0].max()
    np.testing.assert_array_equal(bright[labels != 255], labels[labels != 255] == 1)


def moved(task: Segmentation, names: tuple[str, ...], side: int = 12) -> Array:
    labels = task.check(np.ones((32, side, side), np.int64), "y_train")
    return task.moved(labels, Augmented(names, 0, np.arange(32), 0, (12, 12)))


def test_colours_change_no_label() -> None:
    assert (moved(TASK, ("color-jitter",)) == 1).all()


@pytest.mark.parametrize("ignore", [-1, -100, 300, 255])
def test_what_enters_has_no_label_by_whatever_number(ignore: int) -> None:
    labels = moved(Segmentation(ignore=ignore), ("crop",))
    assert set(np.unique(labels)) == {1, ignore}


def test_maps_of_another_size_than_the_images_cannot_move_along() -> None:
    with pytest.raises(BadInputError, match=r"moves images of \(12, 12\); maps of \(6, 6\) cannot"):
        moved(TASK, ("crop",), side=6)


@pytest.mark.parametrize("name", ["kd", "dkd", "dist", "taid", "mse", "multi-teacher", "born-again"])
def test_logit_methods_teach_each_pixel_that_has_a_label(name: str) -> None:
    """As the method does of a batch whose samples are those pixels."""
    random = torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(2, 4, 3, 5, 6, generator=random)
    labels = torch.randint(0, 3, (4, 5, 6), generator=random)
    labels[:, 0], known = 255, torch.arange(5)[None, :, None].expand(4, 5, 6) > 0
    (method,) = load_methods([{"method": name}])
    build = getattr(method, "build", lambda example: None)

    def loss(student: torch.Tensor, teacher: torch.Tensor, wanted: torch.Tensor, where: torch.Tensor | None) -> float:
        context = Context(0, 10, torch.arange(4), wanted, student, None, build(None), where)
        return float(method(Output(student), Output(teacher), context))

    rows = [values.permute(0, 2, 3, 1)[known] for values in (ours, theirs)]
    assert loss(ours, theirs, labels, known) == pytest.approx(loss(*rows, labels[known], None), rel=1e-5)
    assert loss(ours, theirs, labels, known) != pytest.approx(loss(ours, theirs, labels.clamp(max=2), None), rel=1e-5)


def test_a_segmenter_goes_all_the_way(tmp_path: Path) -> None:
    """Its teacher by labels, the student by soft labels, int8 and a bundle that is scored by mIoU."""
    teacher = edgekd.train(map_net(12, 2), data(), task=TASK, training=QUICK)
    student = edgekd.distill(teacher, map_net(4, 2, seed=1), data(), task="segmentation", training=QUICK)
    dataset = as_dataset(data(), task="segmentation")
    assert dataset.train.labels.dtype == np.uint8
    assert evaluate(student, dataset, dataset.test) > TASK.chance(dataset.test.labels)[0] + 0.2
    quantized = edgekd.quantize(student, "int8-asymmetric", data(), teacher, task=TASK, training=FINE)
    bundle = edgekd.export(quantized, "x86-onnxruntime", tmp_path)
    x, y = data()[1]
    np.savez(tmp_path / "test.npz", x=x, y=y)
    done = edgekd_cli("verify", bundle, "--data", tmp_path / "test.npz", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["miou"] > TASK.chance(dataset.test.labels)[0] + 0.2
    np.savez(tmp_path / "wrong.npz", x=x, y=np.full_like(y, 2))
    said = complaint(edgekd_cli("verify", bundle, "--data", tmp_path / "wrong.npz", "--json"), 2)
    assert "y holds 2 in sample 0; there are the classes 0 to 1, and 255 is ignored" in said
