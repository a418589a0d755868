"""Labels of plots: where they come to lie, by the renderer's own boxes."""

from itertools import combinations
from typing import Any

import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from edgekd.reporting import latency
from edgekd.reporting.labels import Label, place
from edgekd.reporting.latency import Point
from edgekd.reporting.svg import MUTED

WIDE, NARROW = (7.6, 3.3), (3.65, 3.5)
VARIANTS = ("int8", "float", "float16", "dynamic-range", "bf16", "int8, 2 layers in float")


def drawn(points: list[Point], size: tuple[float, float]) -> tuple[Figure, list[Annotation]]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    latency.paint(figure, points, narrow=size == NARROW)
    figure.draw_without_rendering()
    notes = [child for child in figure.axes[0].get_children() if isinstance(child, Annotation) and child.get_text()]
    return figure, notes


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("apart", [0.0, 0.02])
def test_labels_of_variants_that_lie_close_together_do_not_overlap(apart: float, size: tuple[float, float]) -> None:
    """Three runtimes with six variants each, `apart` of a point's own size and time from one to the next."""
    points = [
        Point(target, variant, 1e5 * factor, factor, 0.99 * factor, 1.01 * factor)
        for step, target in enumerate(("x86-tflite", "x86-openvino", "x86-onnxruntime"))
        for number, variant in enumerate(VARIANTS[:5])
        for factor in (1 + apart * (5 * step + number),)
    ]
    figure, notes = drawn(points, size)
    assert len(notes) == 9  # int8 and float are in the legend
    boxes = [note.get_window_extent() for note in notes]
    assert [a for a, b in combinations(boxes, 2) if a.overlaps(b)] == []
    edges = figure.axes[0].bbox
    slack = 1.0  # pixels: a second layout may move the axes by less than that
    assert all(
        edges.x0 - slack <= box.x0 and box.x1 <= edges.x1 + slack and edges.y0 - slack <= box.y0 for box in boxes
    )


def test_a_label_with_room_stays_above_its_point() -> None:
    _, (note,) = drawn([Point("pi", "int8", 1e5, 1.0, 0.9, 1.1), Point("pi", "float16", 2e5, 2.0, 1.9, 2.1)], WIDE)
    assert note.get_position() == (0, 8)


def test_no_label_hides_a_point_and_what_is_far_away_is_tied_to_its_own() -> None:
    figure = Figure(figsize=(3, 3))
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    crowd = [Label(x / 4, y / 4) for x in range(16, 25) for y in range(16, 25)]
    (note,) = place(figure, axes, [*crowd, Label(5, 5, "in the middle")], MUTED)
    box = note.get_window_extent()
    inside = [label for label in crowd if box.contains(*axes.transData.transform((label.x, label.y)))]
    assert inside == []
    ties = [child for child in axes.get_children() if isinstance(child, Annotation) and child.arrow_patch]
    assert [tie.xy for tie in ties] == [(5, 5)]


def test_the_same_run_gives_the_same_drawing(run: dict[str, Any]) -> None:
    first, second = latency.trade_off(run), latency.trade_off(run)
    assert first is not None
    assert first == second
