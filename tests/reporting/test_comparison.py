from typing import Any

from edgekd.reporting.comparison import compare_table
from edgekd.reporting.tables import text


def change(target: str, verdict: str) -> dict[str, Any]:
    return {"target": target, "label": "int8", "verdict": verdict}


def test_what_changed_comes_first_in_the_order_of_the_files() -> None:
    rows = [change("a", "same"), change("b", "faster"), change("c", "same"), change("d", "regression")]
    lines = text(compare_table(rows)).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["b", "d", "a", "c"]


def test_a_regression_among_more_rows_than_anyone_reads_is_shown() -> None:
    rows = [*(change(f"t{number}", "same") for number in range(1500)), change("worse", "regression")]
    said = text(compare_table(rows))
    assert said.splitlines()[1].split() == ["worse", "int8", "regression"]
    assert said.count("same") == 999
    assert " ".join(said.split()).endswith("and 501 more rows, all in --json")
