"""The layers that quantising costs most, for the report: sorted, told apart, the worst shown."""

from pathlib import Path
from typing import Any

import pytest

from edgekd.reporting.html import render
from edgekd.reporting.layers import MOST, profile_command, rows, table
from edgekd.reporting.run_record import RunRecord
from edgekd.reporting.sortable import SHOWN, Table, by_name


def record(losses: list[float | None]) -> RunRecord:
    layers = [{"layer": f"l.{n}", "kind": "Conv", "sqnr_db": 40 - n, "lost_db": lost} for n, lost in enumerate(losses)]
    return RunRecord.of({"quantized": {"int8": {"metric": {"mean": 0.9}, "layers": layers}}})


def named(found: Table, order: int) -> list[str]:
    return [line.cells[0] for line in found.orders[order].lines]


def test_the_worst_is_first_and_bars_are_shares_of_it(run: dict[str, Any]) -> None:
    worst = table(RunRecord.of(run)).orders[0].lines
    assert [line.cells[0] for line in worst] == ["stages.1.0.conv2", "stages.0.0.add", "head", "stem"]
    assert (worst[0].cells[-1], worst[0].bar, worst[1].bar) == ("4.6\u00a0dB", 1.0, 0.413)


def test_each_order_has_all_rows_and_its_own_column(run: dict[str, Any]) -> None:
    found = table(RunRecord.of(run))
    assert named(found, 1) == ["head", "stages.1.0.conv2", "stages.0.0.add", "stem"]  # the least signal to noise first
    assert named(found, 2) == ["head", "stages.0.0.add", "stages.1.0.conv2", "stem"]
    told = [(order.column, order.sense) for order in found.orders]
    assert told == [("Lost here", "descending"), ("Signal to noise", "ascending"), ("Layer", "ascending")]


def test_what_is_not_known_is_left_out_and_no_more_are_shown_than_anyone_reads() -> None:
    run = record([n or None for n in range(MOST + 40)])
    assert len(rows(run)) == MOST + 39
    lines = table(run).orders[0].lines
    assert [line.cells[0] for line in lines] == [f"l.{n}" for n in range(MOST + 39, 39, -1)]
    assert ["tail" in line.classes for line in lines] == [False] * SHOWN + [True] * (MOST - SHOWN)
    assert table(record([])).rows == 0


def test_a_filter_counts_its_rows_and_one_that_tells_nothing_apart_is_left_out(run: dict[str, Any]) -> None:
    asked = {
        buttons.legend: [(one.label, one.count) for one in buttons.choices]
        for buttons in table(RunRecord.of(run)).buttons
    }
    assert asked["Kind"] == [("all", 4), ("Conv", 2), ("Add", 1), ("Gemm", 1)]
    assert "Scheme" not in asked  # the other one has no layers


def test_layer_ten_comes_after_layer_nine() -> None:
    names = ["block.10.conv", "block.9.conv", "block", "stem²", "9"]
    assert sorted(names, key=by_name) == ["9", "block", "block.9.conv", "block.10.conv", "stem²"]


@pytest.mark.parametrize(("lost", "text"), [(-0.04, "0.0"), (-3.26, "-3.3"), (0.05, "0.1")])
def test_a_loss_has_no_minus_before_zero(lost: float, text: str) -> None:
    assert table(record([lost])).orders[0].lines[0].cells[-1] == f"{text}\u00a0dB"


def target(**changes: Any) -> dict[str, Any]:
    variants = {"int8": {"bytes": 1}, "float": {"bytes": 4}}
    return {"backend": "tflite", "status": "ok", "device": "local:", "variants": variants} | changes


FAR = target(device="ssh://pi?port=22")
BROKEN = {"int8": {"bytes": 1, "broken": "7 steps"}, "float": {"bytes": 4}}
NO_FLOAT = {"int8": {"bytes": 1}, "float": {"bytes": 4, "broken": "far"}}


@pytest.mark.parametrize(
    ("targets", "command"),
    [
        ({"a": FAR, "b": target()}, "edgekd profile bundles/b --against bundles/b-float --html layers.html"),
        ({"b": target(variants=NO_FLOAT)}, "edgekd profile bundles/b --html layers.html"),
        (
            {"a": FAR},
            "edgekd profile bundles/a --against bundles/a-float --device 'ssh://pi?port=22' --html layers.html",
        ),
        ({"a": target(status="fallback", variants=BROKEN)}, None),  # its bundle is not kept
        ({"a": target(status="skipped", device=None, variants={})}, None),
        ({"a": target(device="web:headless")}, None),
        ({"a": target(backend="tensorrt")}, None),
        ({"a": target(backend="somebody's")}, None),
        ({}, None),
    ],
)
def test_the_command_for_times_is_one_that_works(targets: dict[str, Any], command: str | None) -> None:
    assert profile_command(RunRecord.of({"targets": targets})) == command


def test_the_report_tells_how_to_see_the_layers_by_time(run: dict[str, Any], tmp_path: Path) -> None:
    page = render(RunRecord.of(run), tmp_path)
    assert (
        "<code>edgekd profile bundles/x86-tflite --against bundles/x86-tflite-float --html layers.html</code>" in page
    )
    run["targets"] = {}
    assert "By time" not in render(RunRecord.of(run), tmp_path)
