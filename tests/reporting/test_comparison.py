from typing import Any

from edgekd.reporting.comparison import compare_markdown, compare_table
from edgekd.reporting.last_line import of_compare
from edgekd.reporting.tables import text


def change(target: str, verdict: str) -> dict[str, Any]:
    return {"target": target, "label": "int8", "verdict": verdict}


def test_what_changed_comes_first_in_the_order_of_the_files() -> None:
    rows = [change("a", "same"), change("b", "faster"), change("c", "same"), change("d", "regression")]
    lines = text(compare_table(rows)).splitlines()
    assert [line for line in lines[1:] if not line.startswith(" ")] == ["b", "d", "a", "c"]
    assert [line.split()[-1] for line in lines if "int8" in line] == ["faster", "regression", "same", "same"]


def test_what_is_unclear_is_told_with_its_reason_and_passes_for_nothing_else() -> None:
    reason, step = "cannot tell from 1 replicate: 5 are needed", "edgekd bench OLD_BUNDLE --replicates 5"
    rows = [change("a", "same"), change("b", "unclear") | {"reason": reason, "next": step}]
    assert f"int8: {reason}" in text(compare_table(rows))
    told = compare_markdown(rows, "edgekd")
    assert told.startswith("### edgekd: none of 2 got worse, 1 unclear")
    assert f"- b int8: {reason}\n- b int8: next: `{step}`\n" in told
    assert of_compare(rows) == f"2 rows: 1 same, 1 unclear (b int8); next: {step}"
    crowd = [change(name, "unclear") for name in "abcde"]
    assert of_compare(crowd) == "5 rows: 5 unclear (a int8, b int8, c int8, 2 more)"


def test_a_regression_among_more_rows_than_anyone_reads_is_shown() -> None:
    rows = [*(change(f"t{number}", "same") for number in range(1500)), change("worse", "regression")]
    said = text(compare_table(rows))
    assert [line.split()[:: len(line.split()) - 1 or 1] for line in said.splitlines()[1:3]] == [
        ["worse"],
        ["int8", "regression"],
    ]
    assert said.count("same") == 999
    assert " ".join(said.split()).endswith("and 501 more rows, all in --json")


def test_what_a_row_was_measured_with_is_told() -> None:
    odd = {"batch": 8, "threads": 2, "scenario": "offline", "affinity": (0, 3), "machine": "pi", "change": -0.1}
    said = text(compare_table([change("a", "faster") | odd | {"changed": ("runtime_version",)}]))
    assert "int8, batch 8, 2 threads, offline, cores 0, 3, pi" in said
    assert "−10.0\u00a0%" in said
    assert "int8: runtime_version changed, too" in said
