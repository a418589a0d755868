"""Boxes of a centre head's teacher, by their definition; its heat maps are tested with detection."""

import pytest
import torch

from edgekd.distillation import Context, Output
from edgekd.distillation.heat_map import HeatMap, box_loss, heat_map_loss
from edgekd.errors import BadInputError

CONTEXT = Context(0, 1, *torch.zeros(3, 2, dtype=torch.int64))


def outputs(classes: int, seed: int) -> torch.Tensor:
    return torch.randn(2, classes + 4, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_boxes_count_as_much_as_the_teacher_is_sure_of_them() -> None:
    ours, theirs = outputs(3, 0), outputs(3, 1)
    total = weight = 0.0
    for n, y, x in torch.cartesian_prod(*map(torch.arange, (2, 3, 2))).tolist():
        sure = max(theirs[n, :3, y, x].sigmoid().tolist())
        total += sure * sum((ours[n, 3:, y, x] - theirs[n, 3:, y, x]).abs().tolist()) / 4
        weight += sure
    found = box_loss(ours[:, 3:], theirs[:, 3:], theirs[:, :3])
    assert found.item() == pytest.approx(total / weight, rel=1e-12)  # float64, order of sums


def test_what_the_teacher_hardly_sees_is_not_blown_up() -> None:
    """Sums of certainty below one count as one."""
    nothing = torch.full((1, 1, 2, 2), -20.0, dtype=torch.float64)
    sure = nothing.sigmoid().sum().item()
    boxes = torch.zeros(1, 4, 2, 2, dtype=torch.float64)
    assert box_loss(boxes + 3, boxes, nothing).item() == pytest.approx(3 * sure)
    ours = torch.zeros_like(nothing)  # sure by half: (0.5 - 0)² · log 2 in four cells
    assert heat_map_loss(ours, nothing).item() == pytest.approx(torch.tensor(2.0).log().item(), rel=1e-6)


@pytest.mark.parametrize("boxes", [0.0, 0.5, 2.0])
def test_boxes_are_a_share_of_the_loss(boxes: float) -> None:
    ours, theirs = outputs(2, 2), outputs(2, 3)
    found = HeatMap(boxes=boxes)(Output(ours), Output(theirs), CONTEXT)
    expected = heat_map_loss(ours[:, :2], theirs[:, :2]) + boxes * box_loss(ours[:, 2:], theirs[:, 2:], theirs[:, :2])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3), (2, 4, 3, 3), (2, 3, 3, 3)])
def test_outputs_without_a_class_beside_the_box_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInputError, match=r"heat-map needs outputs \(N, classes \+ 4, H, W\), not \(2, "):
        HeatMap()(Output(torch.zeros(shape)), Output(torch.zeros(shape)), CONTEXT)


def test_one_class_is_enough() -> None:
    found = HeatMap()(Output(outputs(1, 4)), Output(outputs(1, 5)), CONTEXT)
    assert found > 0
