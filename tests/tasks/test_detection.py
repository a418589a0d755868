"""Boxes are taught, quantised, proven and scored by average precision."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgekd
from edgekd.data import as_dataset
from edgekd.data.augment import Augmented
from edgekd.distillation import Context, Output
from edgekd.distillation.heat_map import HeatMap, heat_map_loss
from edgekd.errors import BadInputError
from edgekd.recipe import Training
from edgekd.tasks.detection import Detection, padded
from edgekd.training import evaluate
from tests.small_run import complaint
from tests.small_run import edgekd as edgekd_cli
from tests.tasks.nets import Array

TASK = Detection(stride=4, top_k=8)
QUICK = Training(epochs=8, batch=8, optimizer="adamw", learning_rate=0.01, precision="float32")


def scenes(count: int, seed: int, side: int = 24) -> tuple[Array, Array]:
    """Images uint8 (N, 1, side, side) with one or two rectangles, bright (0) and brighter (1), and their boxes."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 40, (count, 1, side, side), dtype=np.uint8)
    labels = []
    for image in images:
        boxes = []
        for number in random.permutation(2)[: random.integers(1, 3)]:
            width, height = random.integers(5, 10, 2)
            x, y = random.integers(0, side - width + 1), random.integers(0, side - height + 1)
            image[0, y : y + height, x : x + width] = 120 + 100 * number
            boxes.append([x, y, x + width, y + height, number])
        labels.append(np.array(boxes))
    return images, padded(labels)


def net(width: int, seed: int = 0) -> nn.Module:
    """(N, 1, 24, 24) to (N, 6, 6, 6): two classes in cells of four pixels."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, stride in ((1, 2), (width, 2), (width, 1)):
        layers += [nn.Conv2d(inputs, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, 6, 1))


def data() -> Any:
    return scenes(256, 0), scenes(64, 1)


def boxes(*rows: tuple[float, ...], count: int = 60) -> Array:
    return np.tile(np.array(rows, np.float32)[None], (count, 1, 1))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((60, 4)), "y_train must hold boxes (N, M, 5): x1, y1, x2, y2 in pixels and the class"),
        (boxes((1, 1, 4, 4, 0), (5, 2, 5, 9, 0)), "in sample 0 the box (5, 2, 5, 9) of class 0: x2 > x1 and y2 > y1"),
        (boxes((-2, 1, 4, 4, 0)), "in sample 0 the box (-2, 1, 4, 4) of class 0: it begins outside the image"),
        (boxes((3, 1, 30, 4, 0)), "the box (3, 1, 30, 4) of class 0: it ends outside the image of 24×24"),
        (boxes((3, 1, 9, 4, 0.5)), "of class 0.5: class indices start at 0"),
        (boxes((3, 1, np.inf, 4, 0)), "its numbers are not finite"),
        (boxes((1, 1, 4, 4, 0), (3, 1, 9, 4, 2)), "no box of y_train has class 1, but some have 2: number classes"),
        (boxes((0, 0, 0, 0, -1)), "y_train holds no box; there is nothing to find"),
    ],
)
def test_wrong_boxes_are_one_clear_line(labels: Array, words: str) -> None:
    x = np.zeros((60, 1, 24, 24), np.uint8)
    with pytest.raises(BadInputError) as caught:
        as_dataset(((x, labels), (x, labels)), task="detection")
    assert words in str(caught.value)


def test_samples_that_are_no_images_have_no_boxes() -> None:
    x, labels = np.zeros((60, 8), np.float32), boxes((1, 1, 4, 4, 0))
    with pytest.raises(BadInputError, match=r"samples are \(8,\), not images"):
        as_dataset(((x, labels), (x, labels)), task="detection")


def test_a_network_of_other_outputs_is_told_what_it_needs() -> None:
    too_few = nn.Sequential(net(4), nn.Conv2d(6, 5, 1))
    with pytest.raises(BadInputError, match="puts out 5 values per sample, but needs 6"):
        edgekd.train(too_few, data(), task=TASK, training=QUICK)


def outputs_for(labels: Array, classes: int, side: int, stride: int) -> Array:
    """What a perfect head puts out for boxes whose cells differ."""
    outputs = np.zeros((len(labels), classes + 4, side, side), np.float32)
    outputs[:, :classes] = -9
    for output, sample in zip(outputs, labels, strict=True):
        for place, (x1, y1, x2, y2, number) in enumerate(sample):
            if number >= 0:
                x, y = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
                output[int(number), int(y), int(x)] = 3 - place
                output[classes:, int(y), int(x)] = (x2 - x1) / stride, (y2 - y1) / stride, x % 1, y % 1
    return outputs


def test_what_a_perfect_head_says_is_decoded_to_the_boxes_themselves() -> None:
    labels = padded([np.array([[1, 2, 9, 7, 1], [12, 3, 22, 20, 0]]), np.array([[4, 4, 8, 12, 1]])])
    outputs = outputs_for(labels, 2, 6, 4)
    found = TASK.boxes(outputs)
    assert found.shape == (2, 8, 6)
    np.testing.assert_allclose(np.delete(found[0, :2], 4, axis=1), labels[0], atol=1e-5)  # float32 of some pixels
    np.testing.assert_allclose(found[0, :2, 4], 1 / (1 + np.exp([-3.0, -2.0])), rtol=1e-6)
    assert (found[..., 4] > 0.5).sum() == 3
    assert [metric(outputs, labels) for metric in TASK.metrics] == [1.0, 1.0, 1.0]
    assert TASK.agreement(outputs, outputs) == 1.0


def test_of_equal_neighbours_as_in_int8_one_is_the_peak() -> None:
    outputs = np.full((1, 5, 6, 6), -9, np.float32)
    outputs[0, 0, 2, 2:4] = outputs[0, 0, 3, 2:4] = 1.5
    found = TASK.boxes(outputs)[0]
    assert (found[..., 4] > 0.5).sum() == 1
    assert found[0, 5] == 0


def test_the_loss_is_its_definition() -> None:
    """Eq. 1 to 4 of arXiv:1904.07850 in plain loops, float64; a Gaussian's radius keeps IoU 0.7 of a shifted box."""
    random = np.random.default_rng(0)
    labels = padded([np.array([[1, 2, 9, 7, 1], [2, 3, 14, 20, 1]]), np.array([[4, 4, 8, 12, 0]]), np.zeros((0, 5))])
    outputs = random.normal(size=(3, 6, 6, 6))
    heat, size, offset = 0.0, 0.0, 0.0
    for output, sample in zip(outputs, labels, strict=True):
        wanted = np.zeros((2, 6, 6))
        for x1, y1, x2, y2, number in sample[sample[:, 4] >= 0] / [4, 4, 4, 4, 1]:
            x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
            radii = np.linspace(0, min(w, h), 200_001)
            kept = (w - radii) * (h - radii)
            radius = radii[(kept / (2 * w * h - kept) >= 0.7).sum() - 1]
            for row in range(6):
                for column in range(6):
                    apart = (row - int(y)) ** 2 + (column - int(x)) ** 2
                    value = np.exp(-apart / (2 * ((2 * radius + 1) / 6) ** 2))
                    wanted[int(number), row, column] = max(wanted[int(number), row, column], value)
            found = output[2:, int(y), int(x)]
            size += abs(found[0] - w) + abs(found[1] - h)
            offset += abs(found[2] - x % 1) + abs(found[3] - y % 1)
        for logit, want in zip(output[:2].ravel(), wanted.ravel(), strict=True):
            p = 1 / (1 + np.exp(-logit))
            heat -= (1 - p) ** 2 * np.log(p) if want == 1 else (1 - want) ** 4 * p**2 * np.log(1 - p)
    terms = TASK.loss(torch.from_numpy(outputs), torch.from_numpy(labels.astype(np.float64)))
    expected = {"heat": heat / 3, "size": 0.1 * size / 3, "offset": offset / 3}
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(expected, rel=1e-4)  # of the radius


def test_boxes_move_along_with_their_images() -> None:
    """Each is where its rectangle is; what of it has left the image is cut off."""
    random = np.random.default_rng(0)
    images, labels = np.zeros((200, 1, 40, 32), np.uint8), np.zeros((200, 1, 5), np.float32)
    for image, box in zip(images, labels[:, 0], strict=True):
        x, y = random.integers(0, 25), random.integers(0, 33)
        image[0, y : y + 6, x : x + 7] = 255
        box[:4] = x, y, x + 7, y + 6
    move = Augmented(("crop", "flip"), 3, np.arange(200), 1, (40, 32))
    gone = 0
    for image, box in zip(move(images), TASK.moved(labels, move)[:, 0], strict=True):
        rows, columns = np.nonzero(image[0])
        if box[4] < 0:
            gone += 1
            assert len(rows) <= 21  # half of the rectangle's 42 pixels
        else:
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0]
    assert 0 < gone < 40


def test_the_heat_maps_loss_is_its_definition_and_leaves_boxes_alone() -> None:
    random = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(2, 6, 3, 3, generator=random, dtype=torch.float64) for _ in range(2))
    total, sure = 0.0, 0.0
    for mine, wanted in zip(ours[:, :2].sigmoid().flatten(), theirs[:, :2].sigmoid().flatten(), strict=True):
        cross = -(wanted * mine.log() + (1 - wanted) * (1 - mine).log())
        total, sure = total + float((wanted - mine) ** 2 * cross), sure + float(wanted)
    assert float(heat_map_loss(ours[:, :2], theirs[:, :2])) == pytest.approx(total / sure, rel=1e-9)
    for method, moves_boxes in ((HeatMap(), False), (HeatMap(boxes=0.5), True)):
        found = ours.clone().requires_grad_()
        context = Context(0, 1, *torch.zeros(3, 2, dtype=torch.int64))
        method(Output(found), Output(theirs), context).backward()
        assert found.grad is not None
        assert found.grad[:, :2].any()
        assert bool(found.grad[:, 2:].any()) is moves_boxes
        toward = torch.sign((ours - theirs)[:, 2:]) * moves_boxes
        assert torch.equal(torch.sign(found.grad[:, 2:]), toward)  # a step against it brings boxes nearer


def test_a_detector_goes_all_the_way(tmp_path: Path) -> None:
    """Its teacher by labels, the student by heat maps, int8 and a bundle that is scored by AP50."""
    teacher = edgekd.train(net(16), data(), task=TASK, training=QUICK, augmentation=["flip"])
    student = edgekd.distill(teacher, net(8, seed=1), data(), task=TASK, training=QUICK, cross_entropy=1.0)
    dataset = as_dataset(data(), task=TASK)
    chance = TASK.chance(dataset.test.labels)[0]
    assert evaluate(student, dataset, dataset.test) > chance + 0.2
    found = edgekd.compare(teacher, student, data(), task=TASK).run
    assert found["metric_name"] == "ap50"
    assert 0 < found["distillation"]["agreement"] <= 1
    quantized = edgekd.quantize(student, "int8-asymmetric", data(), task=TASK, training=None)
    bundle = edgekd.export(quantized, "x86-onnxruntime", tmp_path)
    x, y = data()[1]
    np.savez(tmp_path / "test.npz", x=x, y=y)
    done = edgekd_cli("verify", bundle, "--data", tmp_path / "test.npz", "--json")
    assert done.exit_code == 0, done.stderr
    value = json.loads(done.stdout)["ap50"]
    assert value > chance + 0.2
    assert edgekd.evaluate(bundle, data()[1], metric="ap50").value == pytest.approx(value, abs=1e-6)
    np.savez(tmp_path / "wrong.npz", x=x, y=np.where(y == 1, 2, y))
    said = complaint(edgekd_cli("verify", bundle, "--data", tmp_path / "wrong.npz", "--json"), 2)
    assert "there are the classes 0 to 1" in said
