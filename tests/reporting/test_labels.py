"""Labels of plots: where they come to lie, by their boxes; and what a plot tells whoever points at it."""

import re
from itertools import combinations
from typing import Any

import pytest

from edgekd.measure.statistics import Median
from edgekd.reporting import latency, verdict
from edgekd.reporting.labels import NEAR, Box, Label, place
from edgekd.reporting.latency import Point, best_of
from edgekd.reporting.run_record import RunRecord

INSIDE = Box(60, 20, 720, 280)
VARIANTS = ("int8", "float", "float16", "dynamic-range", "bf16")


@pytest.mark.parametrize("wide", [350, 730])
@pytest.mark.parametrize("apart", [0, 1.5])
def test_labels_of_variants_that_lie_close_together_do_not_overlap(apart: float, wide: int) -> None:
    """Three runtimes with three labelled variants each, `apart` pixels from one to the next."""
    inside = INSIDE._replace(right=wide)
    labels = [
        Label(wide / 2 + apart * (5 * step + number), 150 - apart * (5 * step + number), variant if number > 1 else "")
        for step in range(3)
        for number, variant in enumerate(VARIANTS)
    ]
    boxes = [spot.box for spot in place(labels, inside)]
    assert len(boxes) == 9
    assert [pair for pair in combinations(boxes, 2) if pair[0].common(pair[1]).area] == []
    assert all(box.common(inside) == box for box in boxes)


def test_a_label_with_room_stays_above_its_point() -> None:
    (spot,) = place([Label(300, 100), Label(500, 150, "float16")], INSIDE)
    assert (spot.x, spot.y, spot.anchor, spot.far) == (500, 150 - NEAR, "middle", False)


def test_no_label_hides_a_point_and_what_is_far_away_is_tied_to_its_own() -> None:
    crowd = [Label(300 + 8 * x, 100 + 8 * y) for x in range(9) for y in range(9)]
    (spot,) = place([*crowd, Label(332, 132, "in the middle")], INSIDE)
    assert [one for one in crowd if spot.box.common(Box(one.x, one.y, one.x + 1, one.y + 1)).area] == []
    assert spot.far
    x, y = spot.nearest
    assert spot.box.left <= x <= spot.box.right
    assert spot.box.top <= y <= spot.box.bottom


def test_the_front_is_what_nothing_beats_in_both() -> None:
    sizes = ((9, 1), (3, 2), (3, 3), (9, 2))
    fast, small, slow, fat = (Point("t", "int8", size, Median(ms, ms, ms, 5, counts=True)) for size, ms in sizes)
    assert best_of([fat, slow, small, fast]) == [fast, small]


def test_each_point_tells_its_numbers_and_leads_to_its_row(run: dict[str, Any]) -> None:
    plot = latency.trade_off(RunRecord.of(run))
    assert plot is not None
    links = re.findall(r'<a href="#([^"]+)" aria-label="([^"]+)"', plot.wide)
    assert len(links) == len(latency.points(RunRecord.of(run)))
    assert links[0] == ("target-x86-tflite", "x86-tflite int8: 0.318\u00a0ms (0.311–0.327\u00a0ms), 96.5\u00a0kB")


def test_fastest_are_all_that_cannot_be_told_from_the_smallest_median(run: dict[str, Any]) -> None:
    def caption() -> str:
        plot = latency.trade_off(RunRecord.of(run))
        assert plot is not None
        return plot.takeaway.replace("\u00a0", " ")

    assert caption() == "Fastest is int8 on x86-openvino: 0.214 ms (0.206–0.221 ms) in 112 kB."
    run["targets"]["x86-tflite"]["variants"]["int8"]["latency_ms"]["low"] = 0.2
    rivals = "int8 on x86-openvino, 0.214 ms (0.206–0.221 ms) in 112 kB; int8 on x86-tflite, 0.318 ms (0.200–0.327 ms)"
    assert caption() == f"Fastest is one of these, which cannot be told apart: {rivals} in 96.5 kB."


def test_one_run_has_no_interval(run: dict[str, Any]) -> None:
    """Neither in the drawing nor in words, and nothing is the fastest."""
    drawn = latency.trade_off(RunRecord.of(run))
    for target in run["targets"].values():
        for variant in target.get("variants", {}).values():
            if variant["latency_ms"]:
                variant["latency_ms"] |= {"replicates": 1}
    plot = latency.trade_off(RunRecord.of(run))
    assert drawn is not None
    assert plot is not None
    told = plot.takeaway.replace("\u00a0", " ")
    assert "which cannot be told apart: int8 on x86-openvino, 0.214 ms (one run) in 112 kB; " in told
    assert told.endswith("; 4 more.")
    assert drawn.wide.count("<polyline") - plot.wide.count("<polyline") >= len(latency.points(RunRecord.of(run)))
    note = next(tile.note for tile in verdict.tiles(RunRecord.of(run)) if tile.label == "Median latency")
    assert note == "one run, on x86-openvino"


def test_the_same_run_gives_the_same_drawing(run: dict[str, Any]) -> None:
    first, second = latency.trade_off(RunRecord.of(run)), latency.trade_off(RunRecord.of(run))
    assert first is not None
    assert first == second
