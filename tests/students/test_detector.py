"""The detector: sizes, cells, and what it says before it has learned anything."""

import pytest
import torch

from edgekd.errors import BadInputError
from edgekd.students.detector import build


def test_each_cell_of_eight_pixels_gets_scores_and_a_box():
    assert build(classes=7, channels=1, width=2)(torch.zeros(2, 1, 64, 32)).shape == (2, 7, 8, 4)


def test_sizes_are_those_of_a_student_and_a_teacher():
    student, teacher = (sum(p.numel() for p in build(5, 3, *size).parameters()) for size in ((8, 1), (24, 2)))
    assert 57_000 < student < 200_000
    assert 10 * student < teacher < 2_000_000


def test_at_first_no_object_is_likely_and_a_box_is_two_cells_in_the_middle_of_its_own():
    """So that the many empty cells are not all that is learned; the head's weights deviate by 0.01."""
    torch.manual_seed(0)
    found = build(classes=6, channels=3, width=4).eval()(torch.randn(2, 3, 32, 32)).mean((0, 2, 3))
    assert found[:2].sigmoid().tolist() == pytest.approx([0.01, 0.01], abs=0.01)
    assert found[2:].tolist() == pytest.approx([2, 2, 0.5, 0.5], abs=0.3)


def test_what_has_no_boxes_is_refused():
    with pytest.raises(BadInputError, match="4 numbers of a box"):
        build(classes=4, channels=3)
