import io
from typing import Any

import pytest
from rich.console import Console

from edgekd.reporting.run_record import RunRecord
from edgekd.reporting.tables import (
    kernels,
    learn_table,
    pays,
    plain,
    summary,
    target_rows,
    targets_table,
)
from edgekd.reporting.teaching import models
from edgekd.reporting.words import interval


def printed(table: Any, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().replace("\u00a0", " ")


def test_there_is_a_row_per_variant(run: dict[str, Any]) -> None:
    rows = target_rows(RunRecord.of(run))
    assert [(row.target, row.variant) for row in rows][:3] == [
        ("x86-tflite", "int8"),
        ("x86-tflite", "float"),
        ("x86-openvino", "int8"),
    ]
    assert len(rows) == 10
    tflite, skipped = rows[0], next(row for row in rows if row.status == "skipped")
    assert (tflite.bytes, tflite.p50, tflite.int8_pays) == (96_480, 0.318, True)
    assert tflite.speedup == pytest.approx(0.702 / 0.318)
    assert skipped.variant is None
    assert interval(tflite.low, tflite.high, tflite.replicates).replace("\u00a0", " ") == "0.311–0.327 ms"
    assert (skipped.low, kernels(skipped), pays(skipped)) == (None, "–", "unknown")


def test_speed_is_held_against_the_fastest_other_variant(run: dict[str, Any]) -> None:
    openvino = next(row for row in target_rows(RunRecord.of(run)) if row.target == "x86-openvino")
    assert openvino.against == "bf16"
    assert pays(openvino) == "yes, 1.66× bf16"


def test_a_speedup_that_nobody_can_tell_is_no_claim(run: dict[str, Any]) -> None:
    target = run["targets"]["x86-tflite"] | {"int8_pays": None}
    for variant in target["variants"].values():
        variant["latency_ms"]["replicates"] = 1
    run["targets"] = {"x86-tflite": target}
    assert "int8 perhaps 2.21× as fast as float" in printed(targets_table(RunRecord.of(run)))
    assert {interval(row.low, row.high, row.replicates) for row in target_rows(RunRecord.of(run))} == {"one run"}


def test_tables_tell_every_target_once_with_its_reason(run: dict[str, Any]) -> None:
    for target in run["targets"]:
        assert printed(targets_table(RunRecord.of(run))).count(target) == 1
    text = printed(summary(RunRecord.of(run)))
    for part in (
        "not proven",
        "not executed",
        "0.318 ms",
        "pip install 'edgekd[tflite]'",
        "int8 2.21× as fast as float",
        "18/18",
    ):
        assert part in text


def test_on_a_narrow_terminal_neither_name_nor_number_is_broken(run: dict[str, Any]) -> None:
    variants = run["targets"]["x86-tflite"]["variants"]
    variants["dynamic-range"] = variants["float"]
    text = printed(targets_table(RunRecord.of(run)), width=60)
    assert text.count("0.702 ms") == 2
    assert all(target in text for target in run["targets"])
    assert "…" not in text


def test_what_to_ship_is_marked_and_has_a_line_of_its_own(run: dict[str, Any]) -> None:
    run["targets"]["x86-tflite"] |= {"best": "int8", "advice": "ship int8, 2.2× faster than float"}
    said = printed(summary(RunRecord.of(run))).splitlines()
    assert "  ship int8, 2.2× faster than float" in said
    assert [line.split()[0] for line in said if line.endswith("ship this")] == ["int8"]
    assert {row.best for row in target_rows(RunRecord.of(run)) if row.target == "x86-tflite"} == {"int8"}


def test_models_are_told_with_their_spread(run: dict[str, Any]) -> None:
    assert [row.name for row in models(RunRecord.of(run))][:3] == ["teacher", "scratch student", "distilled student"]
    text = printed(learn_table(RunRecord.of(run)))
    assert "90.8 % ± 0.1" in text
    assert "272 k" in text


def test_markup_in_names_is_only_text() -> None:
    entry = {"backend": "tflite", "status": "failed", "reason": "[/nope]", "variants": {"[i]v": {}}}
    run = {"metric_name": "[bold]f1", "targets": {"[red]x[/red]": entry}}
    text = printed(targets_table(RunRecord.of(run)))
    for part in ("[red]x[/red]", "[/nope]", "[i]v"):
        assert part in text
    assert "[bold]f1" in printed(learn_table(RunRecord.of(run)))


def test_an_empty_run_has_empty_tables() -> None:
    assert target_rows(RunRecord.of({})) == models(RunRecord.of({})) == []
    printed(targets_table(RunRecord.of({})))


def test_rows_are_told_whole() -> None:
    """Zero and False are values; a key that no row fills is none; many keys stand below each other."""
    text = printed(
        plain([{"name": "a", "change": 0, "ok": False, "metric": None}, {"name": "b", "change": 0, "ok": True}])
    )
    for part in ("change", "ok", "no", "yes"):
        assert part in text
    assert "metric" not in text
    tall = printed(plain([{f"key_{number}": number for number in range(12)}]))
    assert len(tall.splitlines()) == 12
