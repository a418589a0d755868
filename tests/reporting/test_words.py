from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.reporting import words
from edgekd.reporting.run_record import RunRecord, Scores

EMPTY = RunRecord.of({})


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (words.percent(0.9132), "91.3 %"),
        (words.change(EMPTY, -0.0041), "−0.4 points"),
        (words.change(EMPTY, 0.0001), "±0.0 points"),
        (words.cost(EMPTY, 0.019), "1.9 points"),
        (words.cost(EMPTY, -0.003), "−0.3 points"),
        (words.size(999), "999 B"),
        (words.size(98_496), "98.5 kB"),
        (words.size(4_400_000), "4.40 MB"),
        (words.count(78_042), "78.0 k"),
        (words.count(31_000_000), "31.0 M"),
        (words.count(0), "0"),
        (words.milliseconds(0.4231), "0.423 ms"),
        (words.milliseconds(1234.5), "1,234 ms"),
        (words.seconds(9.81), "9.81 s"),
        (words.seconds(119.7), "2 min 0 s"),
        (words.number(3.0), "3"),
        (words.number(2.44), "2.4"),
        (words.listed([]), ""),
        (words.listed(["a"]), "a"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.sentence("macro-F1"), "Macro-F1"),
        (words.sentence("mIoU"), "mIoU"),
    ],
)
def test_numbers_read_as_people_write_them(told: str, text: str) -> None:
    assert told.replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    "tell",
    [
        words.percent,
        words.size,
        words.count,
        *(partial(tell, EMPTY) for tell in (words.worth, words.change, words.cost)),
    ],
)
def test_what_is_not_known_is_a_dash(tell: object) -> None:
    assert callable(tell)
    assert tell(None) == "–"


def test_a_metric_may_be_stored_in_three_ways() -> None:
    two = Scores(mean=0.5, std=0.1, seeds=(0.4, 0.6))
    assert words.mean(two) == words.mean(0.5) == 0.5
    assert words.mean(None) is None
    assert words.spread(two) == 0.1
    assert words.spread(Scores(mean=0.5, std=0.0, seeds=(0.5,))) is None  # one seed has no spread
    assert words.spread(0.5) is None


@given(st.floats(0.01, 9e5))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    read = float(words.three_digits(value).replace(",", ""))
    assert abs(read - value) <= max(0.005 * value, 0.0005)  # three decimals at least below 1


def test_a_negative_zero_has_no_sign() -> None:
    assert words.percent(-0.001, 0).replace("\u00a0", " ") == "0 %"
    assert words.percent(-0.011, 0).replace("\u00a0", " ") == "-1 %"
