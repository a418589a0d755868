"""The layers that quantising costs most, for the report."""

from typing import Any

from edgekd.reporting.layers import MOST, rows
from edgekd.reporting.run_record import RunRecord


def test_the_worst_is_first_and_bars_are_shares_of_it(run: dict[str, Any]) -> None:
    found = rows(RunRecord.of(run))
    assert [row.layer for row in found] == ["stages.1.0.conv2", "stages.0.0.add", "head", "stem"]
    assert (found[0].lost, found[0].share, found[1].share) == ("4.6\u00a0dB", 1.0, 0.413)


def test_no_more_than_anyone_reads_and_what_is_not_known_is_left_out() -> None:
    layers = [{"layer": f"l{n}", "kind": "Conv", "sqnr_db": None, "lost_db": n or None} for n in range(40)]
    found = rows(RunRecord.of({"quantized": {"int8": {"metric": {"mean": 0.9}, "layers": layers}}}))
    assert [row.layer for row in found] == [f"l{n}" for n in range(39, 39 - MOST, -1)]
    assert rows(RunRecord.of({"quantized": {"int8": {"metric": {"mean": 0.9}}}})) == []
