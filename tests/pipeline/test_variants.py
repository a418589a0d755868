"""Which variant of a student is shipped on a target, and what is said of it."""

from typing import Any

import numpy as np
import pytest

from edgekd.metrics import Scale
from edgekd.pipeline.variants import VariantSelector, float_mismatch

DROP, ACCURACY = 0.005, Scale("accuracy")


def row(milliseconds: float | None, size: int, val: float = 0.9, broken: str | None = None) -> dict[str, Any]:
    """A variant's row of run.json; its interval reaches 1 % to either side, from five replicates."""
    latency = None if milliseconds is None else timed(milliseconds)
    return {"bytes": size, "val": val, "metric": val, "latency_ms": latency, "broken": broken}


def timed(p50: float) -> dict[str, Any]:
    figures = dict.fromkeys(("p50", "p90", "p99", "first_ms", "load_ms"), p50)
    return figures | {
        "low": 0.99 * p50,
        "high": 1.01 * p50,
        "n": 50,
        "replicates": 5,
        "peak_rss_mb": 1,
        "throughput": 1,
    }


def selector(**rows: dict[str, Any]) -> VariantSelector:
    return VariantSelector({label.replace("_", "-"): each for label, each in rows.items()}, DROP, ACCURACY)


def test_int8_that_pays_is_shipped():
    found = selector(int8=row(1, 100), float=row(2, 400), float16=row(2.1, 200))
    assert (found.pays, found.best) == (True, "int8")
    assert found.advice == "ship int8, 2× faster than float, 4× smaller and as accurate"


def test_int8_that_does_not_pay_gives_way_to_the_fastest_that_keeps_the_metric():
    found = selector(
        int8=row(1.4, 120), float=row(2, 400), dynamic_range=row(1, 100, val=0.898), bf16=row(0.5, 400, val=0.8)
    )
    assert (found.pays, found.best) == (False, "dynamic-range")
    told = "int8 does not pay here: ship dynamic-range, 1.4× faster than int8, 1.2× smaller and −0.2 points on val"
    assert found.advice == told


def test_where_no_difference_may_be_claimed_the_smallest_is_shipped():
    found = selector(int8=row(1.005, 120), float=row(1, 400), dynamic_range=row(1.01, 100))
    assert (found.pays, found.best) == (None, "dynamic-range")
    assert "as fast as int8" in found.advice
    untimed = selector(int8=row(None, 120), float=row(None, 400))
    assert (untimed.pays, untimed.best) == (None, "int8")
    assert untimed.advice == "ship int8, not timed beside float, 3.3× smaller and as accurate"


@pytest.mark.parametrize(
    ("ms", "told"), [(1, "perhaps 2× faster than"), (4.6, "perhaps 2.3× slower than"), (2.01, "perhaps as fast as")]
)
def test_what_too_few_replicates_cannot_tell_apart_is_told_as_measured_but_perhaps(ms, told):
    rows = {"int8": row(ms, 100), "float": row(2, 400)}
    for each in rows.values():
        each["latency_ms"] |= {"replicates": 1}
    assert selector(**rows).advice == f"ship int8, {told} float, 4× smaller and as accurate"


def test_an_emulated_devices_times_choose_nothing():
    rows = {"int8": row(9, 120), "float": row(1, 400)}
    for each in rows.values():
        each["latency_ms"] |= {"flags": ["emulated"]}
    found = selector(**rows)
    assert (found.pays, found.best) == (None, "int8")
    assert found.advice == "ship int8, not timed beside float, 3.3× smaller and as accurate"


def test_int8_beyond_the_limit_is_not_shipped_however_fast():
    found = selector(int8=row(1, 100, val=0.88), float=row(2, 400))
    assert (found.pays, found.best) == (False, "float")
    assert found.advice.startswith("int8 loses 2.0 points on val (0.5 allowed): ship float, 2× slower than int8")


def test_the_limit_itself_is_kept():
    """Of metrics that float64 holds exactly."""
    assert VariantSelector({"int8": row(1, 1, val=0.5), "float": row(2, 2, val=0.75)}, 0.25, ACCURACY).best == "int8"


def test_what_is_not_proven_is_never_shipped():
    found = selector(int8=row(1, 100, broken="7 steps"), float=row(3, 400), float16=row(2, 200))
    assert (found.pays, found.best) == (False, "float16")
    assert found.advice.startswith("int8 is not proven here: ship float16, 2× slower than int8, 2× larger")
    nothing = selector(int8=row(1, 100, broken="7 steps"), float=row(3, 400, broken="5 dB"))
    assert (nothing.pays, nothing.best, nothing.advice) == (False, None, None)


def test_a_lead_that_two_digits_would_call_1_is_said_in_words():
    told = selector(int8=row(1, 100), float=row(1.03, 400)).advice
    assert told == "ship int8, barely faster than float, 4× smaller and as accurate"


def noisy(decibel: float) -> tuple[np.ndarray, np.ndarray]:
    """Answers to a reference with that much noise."""
    random = np.random.default_rng(0)
    reference = random.normal(0, 1, (200, 16))
    return reference + random.normal(0, 10 ** (-decibel / 20), reference.shape), reference


@pytest.mark.parametrize(("precision", "least"), [("float", 60), ("float16", 40), ("dynamic-range", 20)])
def test_each_precision_has_to_come_near_the_float_graph(precision, least):
    """3200 values of noise have its power to within a few hundredths of a dB; 1 dB is far from that."""
    assert float_mismatch(*noisy(least + 1), precision, classes=False) is None
    assert f"{least} required" in float_mismatch(*noisy(least - 1), precision, classes=False)


def test_classes_have_to_be_the_same_where_they_are_clear():
    """Two of a hundred decided by a hair's breadth more than the margin, and then the other way: 98 % agree."""
    reference = np.tile(np.linspace(-1, 1, 16), (100, 1))
    reference[:, -2] = reference[:, -1] - 4.5 * 2 / 255
    answers = reference.copy()
    answers[:2, -2:] = answers[:2, :-3:-1]
    assert float_mismatch(answers, reference, "dynamic-range", classes=False) is None
    assert float_mismatch(answers, reference, "dynamic-range", classes=True).startswith("98.00% of the clear inputs")


def test_answers_that_are_not_finite_are_no_answers():
    answers, reference = noisy(60)
    answers[5, 5] = np.nan
    assert "not finite" in float_mismatch(answers, reference, "float", classes=True)


def test_a_metric_of_which_less_is_better_has_its_own_drop_and_unit() -> None:
    """0.005 of an RMSE is half a percent of it: 0.01 px of 2 px."""
    scale = Scale("rmse", better="lower", unit="px")
    rows = {"int8": row(1, 100, val=2.02), "float": row(2, 400, val=2.0)}
    costly = VariantSelector(rows, DROP, scale)
    assert costly.best == "float"
    assert (costly.advice or "").startswith("int8 loses 0.0200 px on val (0.01 allowed): ship float")
    better = VariantSelector({**rows, "int8": row(1, 100, val=1.5)}, DROP, scale)
    assert better.best == "int8"
    assert "−0.500 px on val" in (better.advice or "")
