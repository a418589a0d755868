"""The page of a network's layers: a drawing that follows the graph, colours by loss, and nothing from elsewhere."""

import re
from pathlib import Path
from typing import Any

import pytest

from edgekd.reporting.layer_table import losses_tables
from edgekd.reporting.layers_page import HIGH, WIDE, Drawing, drawn, write_layers_page
from edgekd.reporting.profile import profile_parts


def layer(name: str, *reads: str, precision: str = "int8", why: str | None = None) -> dict[str, Any]:
    return {"id": name, "layer": name, "kind": "Conv", "precision": precision, "why": why, "reads": list(reads)}


NODES = [
    layer("stem"),
    layer("left", "stem"),
    layer("right", "stem", precision="float", why="its weight is not quantised"),
    layer("<join>", "left", "right"),
    layer("end", "stem", "<join>"),
]
LOSSES = [
    {"layer": "right", "kind": "Conv", "sqnr_db": 20.0, "lost_db": 12.0},
    {"layer": "stem", "kind": "Conv", "sqnr_db": 32.0, "lost_db": 3.0},
    {"layer": "left", "kind": "Conv", "sqnr_db": 33.0, "lost_db": -1.0},
]
REPORT = {"target": "x86-tflite", "layers": LOSSES, "graph": NODES}


@pytest.fixture
def drawing() -> Drawing:
    return drawn("x86-tflite", NODES, LOSSES)


def test_each_layer_stands_below_all_that_it_reads_and_none_on_another(drawing: Drawing) -> None:
    stem, left, right, join, end = drawing.boxes
    assert stem.y < left.y == right.y < join.y < end.y
    assert right.x - left.x >= WIDE
    assert max(box.x for box in drawing.boxes) + WIDE < drawing.width
    assert max(box.y for box in drawing.boxes) + HIGH < drawing.height


def test_each_read_is_a_line_from_box_to_box(drawing: Drawing) -> None:
    _, left, right, join, _ = drawing.boxes
    into = {(x, y) for x, y, *to in drawing.lines if to == [join.x + WIDE // 2, join.y]}
    assert into == {(box.x + WIDE // 2, box.y + HIGH) for box in (left, right)}
    assert len(drawing.lines) == 6


def test_colours_are_shares_of_the_worst_loss(drawing: Drawing) -> None:
    assert [box.share for box in drawing.boxes] == [0.25, 0.0, 1.0, 0.0, 0.0]
    assert "float: its weight is not quantised, 20.0 dB from float, 12.0 dB of it lost here" in drawing.boxes[2].about


def test_a_long_name_keeps_its_end() -> None:
    (box,) = drawn("t", [layer("encoder." * 9 + "last")], []).boxes
    assert box.text.startswith("Conv …")
    assert box.text.endswith(".last")
    assert len(box.text) <= 34


def test_the_page_needs_nothing_else_and_escapes_names(tmp_path: Path) -> None:
    write_layers_page(tmp_path / "layers.html", "net.onnx", losses_tables([REPORT]), [REPORT])
    page = (tmp_path / "layers.html").read_text()
    assert "&lt;join&gt;" in page
    assert "<join>" not in page
    assert page.count("stroke-dasharray") == 1
    named = re.findall(r'<th scope="row">([^<]*)<', page)
    assert [named[at : at + 3] for at in (0, 3, 6)] == [
        ["right", "stem", "left"],  # by loss
        ["right", "stem", "left"],  # by signal to noise
        ["stem", "left", "right"],  # as the network has them
    ]
    assert not re.search(r"<script|<link|https?://(?!www\.w3\.org)", page)


def test_tables_alone_are_a_page_too(tmp_path: Path) -> None:
    write_layers_page(tmp_path / "layers.html", "net.onnx", losses_tables([REPORT]))
    page = (tmp_path / "layers.html").read_text()
    assert "<svg" not in page
    assert "12.0\u00a0dB" in page


def timed(place: int, layer: str | None, us: float, lost: float | None, other: float | None = None) -> dict[str, Any]:
    return {
        "place": place, "layer": layer, "kernels": ["Conv"], "precision": "int8" if layer else None, "placement": "CPU",
        "share": us / 100, "us": us, "below": False, "lost_db": lost, "other_us": other,
    }  # fmt: skip


def test_a_profile_is_sorted_by_time_by_loss_and_by_place() -> None:
    layers = [timed(2, "last", 60, 1.0), timed(0, "first", 30, 4.0), timed(1, None, 10, None)]
    profile = {
        "model": "net.onnx", "device": "local:", "source": "counters", "batch": 1, "threads": 2, "latency_us": 100,
        "layers": layers, "warning": None, "other": None,
    }  # fmt: skip
    (part,) = profile_parts([profile])
    by_time, by_loss, by_place = ([line.cells[0] for line in order.lines] for order in part.table.orders)
    assert by_time == ["last", "first", "(runtime)"]
    assert by_loss == ["first", "last", "(runtime)"]
    assert by_place == ["first", "(runtime)", "last"]
    assert [line.bar for line in part.table.orders[0].lines] == [1.0, 0.5, 0.167]
    assert part.head.replace("\u00a0", " ") == "net.onnx on local: 100 µs, batch 1, 2 threads"
    there = {"other": "float.onnx", "other_us": 200.0, "matched": "of 3 layers, 3 by name"}
    beside = profile | there | {"layers": [row | {"other_us": 9.0} for row in layers]}
    (both,) = profile_parts([beside])
    assert [line.cells[0] for line in both.table.orders[0].lines] == ["last", "first", "(runtime)"]  # as it was ranked
    assert {"there", "float here"} <= set(both.table.titles)
