"""Networks and losses of the user's that fail, at once or in the middle of a training: one line that says what does."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgekd
from edgekd.errors import BadInputError
from edgekd.tasks import find_task

RANDOM = np.random.default_rng(0)
IMAGES, CLASSES = RANDOM.integers(0, 256, (40, 1, 4, 4), dtype=np.uint8), np.arange(40) % 3
DATA: Any = ((IMAGES, CLASSES), (IMAGES, CLASSES))
QUICK = edgekd.Training(epochs=1, batch=18)


class Net(nn.Module):
    """One that does something to its logits from its `start`-th call on."""

    def __init__(self, change: Callable[[Tensor], Any] = lambda logits: logits, start: int = 0, size: int = 16) -> None:
        super().__init__()
        self.head, self.change, self.calls, self.start = nn.Linear(size, 3), change, 0, start

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        logits = self.head(x.flatten(1))
        return self.change(logits) if self.calls > self.start else logits


def out_of_luck(*_: Any) -> Any:
    raise RuntimeError("out of luck")


def said(call: Callable[[], Any]) -> str:
    with pytest.raises(BadInputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            Net(out_of_luck),
            "the model cannot take inputs (2, 1, 4, 4): RuntimeError: out of luck (test_bad",
        ),
        (Net(out_of_luck, start=2), "a network fails on a batch (18, 1, 4, 4): RuntimeError: out of luck (test_bad"),
        (
            Net(torch.Tensor.long),
            "the loss does not depend on any parameter: what the network puts out is detached",
        ),
        (Net(torch.Tensor.detach), "the loss does not depend on any parameter"),
        (Net(torch.sum), "the network puts out () for 2 samples: outputs have a row for each, (N, …)"),
        (Net(lambda logits: logits[:1]), "the network puts out (1, 3) for 2 samples"),
        (Net, "the model has to be a torch.nn.Module, not class Net: call it"),
        ("timm:resnet18", "the model has to be a torch.nn.Module, not str"),
    ],
)
def test_a_network_that_fails_is_one_clear_line(network: Any, words: str) -> None:
    assert words in said(lambda: edgekd.train(network, DATA, training=QUICK))


def test_how_to_resize_for_one_network_is_said_of_images_and_of_signals() -> None:
    teacher, student = Net(size=64), Net()
    found = said(lambda: edgekd.distill(teacher, student, DATA, training=QUICK))
    assert "the teacher cannot take inputs (2, 1, 4, 4): " in found
    assert found.endswith("for images of its own size, nn.Sequential(nn.Upsample((H, W)), teacher)")
    assert edgekd.distill(nn.Sequential(nn.Upsample((8, 8)), teacher), student, DATA, training=QUICK) is student
    signals: Any = ((RANDOM.normal(size=(40, 2, 8)), CLASSES),) * 2
    found = said(lambda: edgekd.distill(teacher, student, signals, training=QUICK))
    assert found.endswith("for signals of its own size, nn.Sequential(nn.Upsample(LENGTH), teacher)")
    assert edgekd.distill(nn.Sequential(nn.Upsample(32), teacher), student, signals, training=QUICK) is student


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            out_of_luck,
            "Own.loss fails on outputs (18, 3), labels (18,): RuntimeError: out of luck (test_bad",
        ),
        (lambda self, outputs, labels: outputs.mean(), "Own.loss returns a Tensor, not its terms by name, such as"),
    ],
)
def test_a_tasks_loss_that_fails_is_one_clear_line(loss: Callable[..., Mapping[str, Tensor]], words: str) -> None:
    own = type("Own", (type(find_task("classification")),), {"loss": loss})
    assert words in said(lambda: edgekd.train(Net(), DATA, task=own(), training=QUICK))


class Boxes:
    """A data set of images with none, one or two boxes, perhaps listed."""

    def __init__(self, widths: tuple[int, ...] = (5,), listed: bool = False) -> None:
        box = [1, 1, 3, 3, 0, 0]
        self.boxes = [np.array([box[: widths[place % len(widths)]]] * (place % 3)) for place in range(40)]
        self.boxes = [boxes.reshape(-1, widths[place % len(widths)]) for place, boxes in enumerate(self.boxes)]
        if listed:
            self.targets = self.boxes

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return IMAGES[index], self.boxes[index]


@pytest.mark.parametrize("listed", [False, True])
def test_boxes_of_a_data_set_need_not_be_padded(listed: bool) -> None:
    data = edgekd.data.as_dataset((Boxes(listed=listed), Boxes()), task="detection")
    assert data.test.labels.shape == (40, 2, 5)
    assert (data.test.labels[..., 4] == 0).sum(axis=1).tolist() == [place % 3 for place in range(40)]


def test_labels_of_a_data_set_that_differ_in_shape_are_refused_where_the_task_cannot_stack_them() -> None:
    wrong: Any = (Boxes((5, 6)), Boxes())
    for task in ("detection", "regression"):
        found = said(lambda named=task: edgekd.data.as_dataset(wrong, task=named))  # type: ignore[misc]
        assert "data: train: the label of sample 1 is (1, 6), that of sample 0 (0, 5)" in found
