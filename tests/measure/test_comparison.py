import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import BadInputError
from edgekd.measure.comparison import Change, compare_files, compare_rows
from edgekd.measure.facts import Machine
from edgekd.measure.results import Key, Row, append_rows
from edgekd.measure.statistics import summarise
from tests.measure.timings import timings

MACHINE = Machine(
    cpu="c", arch="x86_64", cores=2, flags=(), memory_mb=None, kernel="6", python="3.11", governor=None,
    frequency_mhz=None, max_frequency_mhz=None,
)  # fmt: skip


def measured(milliseconds: float, spread: float = 0.01, replicates: int = 5, **changes: Any) -> Row:
    medians = [milliseconds * (1 + spread * offset) for offset in range(-(replicates // 2), replicates // 2 + 1)]
    fields: dict[str, Any] = {
        "time": "2026-01-01T00:00:00+00:00", "machine": MACHINE, "target": "t", "label": "int8",
        "backend": "openvino", "runtime": "OpenVINO", "runtime_version": "1", "artifact": "0" * 64, "batch": 1,
        "runner": "1" * 64, "inputs": "2" * 64, "precision": "f32",
        "threads": 1, "latency": summarise(timings([[median] * 4 for median in medians]), [1.0]),
    }  # fmt: skip
    return Row(**(fields | changes))


def compared(tmp_path: Path, before: list[Row], after: list[Row], **options: float) -> tuple[list[Change], bool]:
    append_rows(tmp_path / "before.jsonl", before)
    append_rows(tmp_path / "after.jsonl", after)
    return compare_files(tmp_path / "before.jsonl", tmp_path / "after.jsonl", **options)


def emulated(milliseconds: float, **changes: Any) -> Row:
    row = measured(milliseconds, **changes)
    assert row.latency is not None
    return row.model_copy(update={"latency": row.latency.model_copy(update={"flags": ("emulated",)})})


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (measured(1.0), measured(1.0), "same"),
        (measured(1.0), measured(1.02), "same"),  # the intervals overlap
        (measured(1.0, spread=0.1), measured(1.3, spread=0.1), "unclear"),  # far, but so noisy that they overlap
        (measured(1.0, spread=0.1), measured(1.04, spread=0.1), "same"),  # below the threshold
        (measured(1.0, spread=0.001), measured(1.04, spread=0.001), "slower"),  # real, but below the threshold
        (measured(1.0), measured(1.5), "regression"),
        (measured(1.0), measured(0.5), "faster"),
        (measured(1.0, replicates=3), measured(1.5, replicates=3), "unclear"),  # too few to claim anything
        (measured(1.0, replicates=1), measured(0.59, replicates=1), "unclear"),
        (measured(1.0, replicates=1), measured(1.0), "unclear"),
        (measured(1.0, replicates=1, metric=0.9), measured(1.0, replicates=1, metric=0.8), "metric drop"),
        (measured(1.0, metric=0.9), measured(0.5, metric=0.85), "metric drop"),  # speed does not buy it back
        (measured(1.0, metric=0.9), measured(1.0, metric=0.895), "same"),
        (measured(1.0, metric=0.9), measured(1.0), "missing"),
        (measured(1.0), measured(1.0, latency=None), "missing"),
        (emulated(1.0), emulated(9.0), "unclear"),
        (measured(1.0), emulated(0.1), "unclear"),
        (emulated(1.0, metric=0.9), emulated(1.0, metric=0.8), "metric drop"),
        (measured(1.0, latency=None, metric=0.9), measured(1.0, latency=None, metric=0.9), "same"),
        (measured(1.0, latency=None, metric=0.9), measured(1.0, metric=0.9), "same"),  # timed for the first time
        (measured(1.0), measured(1.0, metric=0.9), "same"),  # scored for the first time
        (measured(10.0, spread=0.001), measured(10.4, spread=0.001), "slower"),  # whatever the unit
        (measured(0.1, spread=0.001), measured(0.2, spread=0.001), "regression"),
    ],
)
def test_verdicts(tmp_path: Path, before: Row, after: Row, verdict: str) -> None:
    (row,), regressed = compared(tmp_path, [before], [after])
    assert row.verdict == verdict
    assert regressed == (verdict in ("regression", "metric drop", "missing"))
    assert (row.reason is not None) == (verdict == "unclear")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (measured(1.0, replicates=1), measured(0.59), "cannot tell from 1 replicate: 5 are needed"),
        (measured(1.0), measured(0.59, replicates=3), "cannot tell from 3 replicates: 5 are needed"),
        (measured(1.0, spread=0.1), measured(1.3, spread=0.1), "cannot tell: the intervals overlap"),
        (measured(1.0), emulated(9.0), "cannot tell: times of an emulated device"),
    ],
)
def test_what_is_unclear_says_why(tmp_path: Path, before: Row, after: Row, reason: str) -> None:
    (row,), _ = compared(tmp_path, [before], [after])
    assert row.reason is not None
    assert row.reason.startswith(reason)


def test_no_time_of_an_emulated_device_is_told(tmp_path: Path) -> None:
    (row,), regressed = compared(tmp_path, [emulated(1.0)], [emulated(9.0)])
    assert (row.before_ms, row.after_ms, row.change, regressed) == (None, None, None, False)


def test_the_threshold_is_the_users(tmp_path: Path) -> None:
    _, regressed = compared(tmp_path, [measured(1.0)], [measured(1.5)], threshold=0.6)
    assert not regressed


def test_what_reaches_a_threshold_is_a_regression_and_what_keeps_to_an_allowance_is_no_drop() -> None:
    assert compare_rows(measured(4.0), measured(5.0), threshold=0.25).verdict == "regression"
    assert compare_rows(measured(4.0), measured(5.0), threshold=0.26).verdict == "slower"
    before, after = measured(1.0, metric=0.75), measured(1.0, metric=0.5)
    assert compare_rows(before, after, metric_drop=0.25).verdict == "same"
    assert compare_rows(before, after, metric_drop=0.24).verdict == "metric drop"


def test_replicates_are_told_before_and_after_where_both_were_timed() -> None:
    timed, untimed = measured(1.0, replicates=5), measured(1.0, latency=None)
    assert compare_rows(timed, measured(1.0, replicates=7)).replicates == (5, 7)
    assert compare_rows(untimed, timed).replicates is None
    assert compare_rows(timed, emulated(1.0)).replicates is None


def test_rows_pair_by_target_label_batch_and_threads(tmp_path: Path) -> None:
    before = [measured(1.0), measured(2.0, batch=8), measured(3.0, label="float")]
    after = [measured(3.0, label="float"), measured(1.0), measured(9.0, threads=2)]
    rows, regressed = compared(tmp_path, before, after)
    verdicts = {(row.label, row.batch, row.threads): row.verdict for row in rows}
    assert verdicts == {
        ("int8", 1, 1): "same",
        ("int8", 8, 1): "missing",
        ("float", 1, 1): "same",
        ("int8", 1, 2): "new",
    }
    assert regressed  # a row that vanished


def test_scenarios_and_cores_are_never_mixed(tmp_path: Path) -> None:
    before = [measured(1.0), measured(2.0, scenario="offline"), measured(3.0, affinity=(0, 1))]
    after = [measured(3.0, affinity=(2, 3)), measured(2.0, scenario="offline"), measured(1.0)]
    rows, _ = compared(tmp_path, before, after)
    verdicts = {(row.scenario, row.affinity): row.verdict for row in rows}
    assert verdicts == {
        ("single-stream", None): "same",
        ("offline", None): "same",
        ("single-stream", (0, 1)): "missing",
        ("single-stream", (2, 3)): "new",
    }
    with pytest.raises(
        BadInputError, match=r"in common: t int8 \(batch 1, threads 1, offline\); t int8 \(batch 1, threads"
    ):
        compared(tmp_path / "other", [before[1]], [after[2]])


def test_a_later_row_replaces_an_earlier_one(tmp_path: Path) -> None:
    (row,), _ = compared(tmp_path, [measured(9.0), measured(1.0)], [measured(1.0)])
    assert row.before_ms == pytest.approx(1.0)


def test_other_machines_cannot_be_compared(tmp_path: Path) -> None:
    other = MACHINE.model_copy(update={"cpu": "d"})
    with pytest.raises(BadInputError, match="different machines"):
        compared(tmp_path, [measured(1.0)], [measured(1.0, machine=other)])


def test_other_metrics_cannot_be_compared(tmp_path: Path) -> None:
    before, after = (measured(1.0, metric=0.9, metric_name=name) for name in ("accuracy", "macro-f1"))
    with pytest.raises(BadInputError, match="t int8: scored by different metrics: accuracy and macro-f1"):
        compared(tmp_path, [before], [after])


def test_other_targets_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="nothing in common"):
        compared(tmp_path, [measured(1.0)], [measured(1.0, target="u")])


@pytest.mark.parametrize("missing", ["machine", "artifact", "target", "runtime_version"])
def test_rows_without_identity_are_refused(tmp_path: Path, missing: str) -> None:
    append_rows(tmp_path / "before.jsonl", [measured(1.0)])
    document = json.loads((tmp_path / "before.jsonl").read_text())
    del document[missing]
    (tmp_path / "after.jsonl").write_text(json.dumps(document))
    with pytest.raises(BadInputError, match=f"after.jsonl:1: missing key '{missing}'"):
        compare_files(tmp_path / "before.jsonl", tmp_path / "after.jsonl")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    append_rows(tmp_path / "before.jsonl", [measured(1.0)])
    (tmp_path / "after.jsonl").write_text("\n")
    with pytest.raises(BadInputError, match="no rows"):
        compare_files(tmp_path / "before.jsonl", tmp_path / "after.jsonl")


def test_rows_of_an_older_edgekd_are_refused_by_what_they_do_not_say(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"before\.jsonl: t int8 does not say runner, inputs: measure it again"):
        compared(tmp_path, [measured(1.0, runner=None, inputs=None)], [measured(1.0)])


def test_what_else_changed_is_named(tmp_path: Path) -> None:
    after = measured(1.5, precision="bf16", runtime_version="2", inputs="3" * 64)
    (row,), regressed = compared(tmp_path, [measured(1.0)], [after])
    assert regressed
    assert row.changed == ("inputs", "precision", "runtime_version")


def test_another_option_is_named_but_not_what_the_runtime_told_besides(tmp_path: Path) -> None:
    before = measured(1.0, options={"delegate": "xnnpack", "engine": "built"})
    (row,), _ = compared(tmp_path, [before], [measured(1.5, options={"delegate": "none", "engine": "kept"})])
    (same,), _ = compared(tmp_path / "same", [before], [measured(1.5, options={**before.options, "engine": "kept"})])
    assert (row.changed, same.changed) == (("options",), ())


def test_the_same_target_on_several_machines_is_compared_machine_by_machine(tmp_path: Path) -> None:
    other = MACHINE.model_copy(update={"cpu": "d"})
    before = [measured(1.0), measured(3.0, machine=other)]
    rows, regressed = compared(tmp_path, before, [measured(3.0, machine=other), measured(1.5)])
    assert regressed
    assert {row.machine: row.verdict for row in rows} == {"c": "regression", "d": "same"}


def test_every_key_is_looked_at_as_often_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def equal(one: Key, other: object) -> bool:
        nonlocal looks
        looks += 1
        return tuple.__eq__(one, other)  # type: ignore[arg-type]

    monkeypatch.setattr(Key, "__eq__", equal)
    counted = {}
    for number in (50, 200):
        looks = 0
        rows = [measured(1.0, target=f"t{index}") for index in range(number)]
        changes, _ = compared(tmp_path / str(number), rows, rows)
        assert len(changes) == number
        counted[number] = looks / number
    assert 0 < counted[200] < 1.5 * counted[50]  # quadratic: 4 times as often; hashes may collide a little


def test_only_the_latest_row_of_a_key_is_held(tmp_path: Path) -> None:
    row = measured(1.0, samples=tuple((1.0,) * 100 for _ in range(5)))
    peaks = {}
    for number in (20, 200):
        paths = [tmp_path / f"{name}-{number}.jsonl" for name in ("before", "after")]
        for path in paths:
            append_rows(path, [row] * number)
        tracemalloc.start()
        compare_files(*paths)
        peaks[number] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[200] - peaks[20] < paths[0].stat().st_size / 10  # all rows held take more than the file


def test_files_with_nothing_in_common_name_a_few_of_their_rows(tmp_path: Path) -> None:
    before, after = ([measured(1.0, target=f"{name}{index}") for index in range(50)] for name in ("old", "new"))
    with pytest.raises(BadInputError, match=r"old0 int8 .*old2 int8 .*, 47 more; new0 .*, 47 more$") as caught:
        compared(tmp_path, before, after)
    assert len(str(caught.value)) < 600
    with pytest.raises(BadInputError, match=r"old0 int8 .*old2 int8 \(batch 1, threads 1\); new0 .*, 1 more$"):
        compared(tmp_path / "few", before[:3], after[:4])


def test_one_machine_is_not_named(tmp_path: Path) -> None:
    (row,), _ = compared(tmp_path, [measured(1.0)], [measured(1.5)])
    assert row.machine is None
    assert compare_rows(measured(1.0), measured(1.5)) == row


def test_two_rows_say_what_else_they_differ_in() -> None:
    told = compare_rows(measured(1.0), measured(0.5, threads=4, affinity=(0, 1)))
    assert (told.verdict, told.changed) == ("faster", ("threads", "affinity"))
    with pytest.raises(BadInputError, match="batches of 1 and of 4"):
        compare_rows(measured(1.0), measured(2.0, batch=4))


def test_two_rows_are_compared_as_two_files_are() -> None:
    drop = compare_rows(measured(2.0, metric=0.9), measured(1.0, metric=0.85, label="other"))
    assert (drop.verdict, drop.label, drop.change) == ("metric drop", "other", pytest.approx(-0.5))
    assert (drop.before_metric, drop.after_metric) == (0.9, 0.85)


def test_that_a_row_stands_for_the_last_of_several_models_is_told(tmp_path: Path) -> None:
    """What tells rows of one file apart is no network: two of them may be measured for one target."""
    rows = [measured(1.0), measured(2.0, artifact="1" * 64), measured(2.0, artifact="1" * 64), measured(9.0, batch=2)]
    append_rows(tmp_path / "before.jsonl", rows)
    append_rows(tmp_path / "after.jsonl", [measured(2.0), measured(2.0, time="2026-01-02T00:00:00+00:00")])
    told: list[str] = []
    (change, _), _ = compare_files(tmp_path / "before.jsonl", tmp_path / "after.jsonl", warn=told.append)
    assert (change.before_ms, change.verdict) == (2.0, "same")
    assert told == [
        f"{tmp_path / 'before.jsonl'}: several models were measured as t int8 (batch 1, threads 1): the last one of "
        "each counts"
    ]
