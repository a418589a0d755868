import json
from pathlib import Path

from edgekd.reporting.run_record import RunRecord
from edgekd.reporting.training import curves, histories


def test_stages_come_in_the_order_of_teaching(folder: Path) -> None:
    assert list(histories(folder)) == ["teacher", "scratch", "student", "qat/int8-asymmetric"]


def test_broken_histories_are_left_out(folder: Path) -> None:
    (folder / "teacher" / "history.json").write_text("[{")
    (folder / "scratch" / "history.json").write_text('{"epoch": 1}')
    (folder / "student" / "history.json").write_text(json.dumps([{"epoch": 1, "loss": None, "val": None}]))
    (folder / "qat/int8-asymmetric" / "history.json").write_text("[3]")
    assert list(histories(folder)) == ["student"]
    plot = curves(RunRecord.of({}), folder)
    assert plot is not None
    assert plot.takeaway == "Loss by epoch."


def test_no_history_no_plot(tmp_path: Path) -> None:
    assert curves(RunRecord.of({}), tmp_path) is None
