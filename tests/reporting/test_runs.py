"""Several runs on one page, and the tables of one as files."""

import copy
import csv
import json
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import BadInputError
from edgekd.reporting.export_tables import write_tables
from edgekd.reporting.runs import write_comparison
from tests.reporting.test_html import Page
from tests.small_run import complaint, edgekd


def folder(path: Path, run: dict[str, Any], student: float, method: str) -> Path:
    own = copy.deepcopy(run)
    own["student"]["metric"] = {"mean": student, "std": 0.004, "seeds": [student - 0.004, student, student + 0.004]}
    own["distillation"]["methods"] = [{"method": method, "weight": 0.9}]
    path.mkdir()
    (path / "run.json").write_text(json.dumps(own))
    return path


def test_the_best_student_is_first_and_every_run_has_its_row(run: dict[str, Any], tmp_path: Path) -> None:
    runs = [folder(tmp_path / name, run, value, name) for name, value in (("kd", 0.88), ("dkd", 0.893), ("hint", 0.87))]
    page = Page(write_comparison(runs, tmp_path / "page.html").read_text())
    assert page.text.count("dkd teaches best: 89.3 % accuracy.") == 1
    order = [page.text.index(f"{name} {name} × 0.9") for name in ("dkd", "kd", "hint")]
    assert order == sorted(order)
    plots = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert "dkd 89.3\u00a0%; kd 88.0\u00a0%; hint 87.0\u00a0%" in str(plots[0]["aria-label"])
    targets = {attributes["id"] for tag, attributes in page.elements if tag == "tr" and "id" in attributes}
    assert targets == {"target-dkd", "target-kd", "target-hint"}
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert links <= {f"#{name}" for name in targets}


def test_no_time_of_an_emulated_device_is_told(run: dict[str, Any], tmp_path: Path) -> None:
    for target in run["targets"].values():
        for variant in target["variants"].values():
            if variant.get("latency_ms"):
                variant["latency_ms"]["flags"] = ["emulated"]
    runs = [folder(tmp_path / name, run, 0.88, name) for name in ("kd", "dkd")]
    assert "\u00a0ms" not in write_comparison(runs, tmp_path / "page.html").read_text()


def test_nothing_is_claimed_of_runs_that_seeds_cannot_tell_apart(run: dict[str, Any], tmp_path: Path) -> None:
    """Deviations of 0.4 points each: 0.7 points apart is not enough."""
    runs = [
        folder(tmp_path / name, run, value, name) for name, value in (("kd", 0.886), ("dkd", 0.893), ("hint", 0.87))
    ]
    page = Page(write_comparison(runs, tmp_path / "page.html").read_text())
    assert "dkd reaches 89.3 % accuracy; kd cannot be told from it." in page.text


def test_runs_of_other_metrics_or_of_one_name_are_refused(run: dict[str, Any], tmp_path: Path) -> None:
    one = folder(tmp_path / "one", run, 0.88, "kd")
    other = folder(
        tmp_path / "other", run | {"metric_scale": {"name": "rmse", "better": "lower", "unit": "px"}}, 1, "kd"
    )
    with pytest.raises(BadInputError, match="not scored by one metric"):
        write_comparison([one, other], tmp_path / "page.html")
    assert "named twice" in complaint(edgekd("report", one, "--compare", one), 2)


def test_each_table_is_a_file_with_its_numbers_in_full(run: dict[str, Any], tmp_path: Path) -> None:
    written = write_tables(folder(tmp_path / "run", run, 0.891234, "kd"), tmp_path / "tables")
    assert {path.name for path in written} == {
        f"{name}.{suffix}" for name in ("networks", "targets", "layers", "parity") for suffix in ("csv", "md")
    }
    rows = list(csv.DictReader((tmp_path / "tables" / "networks.csv").read_text().splitlines()))
    assert {row["name"]: row["metric"] for row in rows}["distilled student"] == "0.891234"
    assert "| distilled student | 0.8912 |" in (tmp_path / "tables" / "networks.md").read_text()
