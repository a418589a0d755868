"""Numbers on the scale of their metric."""

import numpy as np
import pytest

from edgekd.metrics import Metric, Scale, accuracy
from edgekd.metrics._base import standard_error_of_mean

PIXELS = Scale("rmse", better="lower", unit="px")
SHARE = Scale("accuracy")


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (SHARE.text(0.9132), "91.3 %"),
        (SHARE.text(-0.0001), "0.0 %"),
        (SHARE.difference(-0.0041), "−0.4 points"),
        (SHARE.difference(0.0001), "±0.0 points"),
        (PIXELS.text(0.42314), "0.423 px"),
        (PIXELS.text(1234.5), "1,234 px"),
        (PIXELS.difference(0.0201), "+0.0201 px"),
        (PIXELS.difference(0), "±0.000 px"),
        (Scale("r2", unit="").text(0.5), "0.500"),
    ],
)
def test_a_number_is_printed_in_its_unit(told: str, wanted: str) -> None:
    assert told.replace("\u00a0", " ") == wanted


def test_a_gain_is_positive_where_it_is_better() -> None:
    assert (SHARE.gain(0.75, 0.5), PIXELS.gain(0.75, 0.5)) == (0.25, -0.25)
    assert (SHARE.allowance(0.01, 0.5), PIXELS.allowance(0.01, 50)) == (0.01, 0.5)


def test_the_bootstrap_agrees_with_the_closed_form() -> None:
    """200 draws know a deviation within 5 %; 15 % is three of them."""
    random = np.random.default_rng(0)
    labels, logits = random.integers(0, 3, 500), random.normal(size=(500, 3))
    closed = accuracy.metric()
    drawn = Metric("accuracy", closed.count, closed.score)
    rows = closed.rows(logits, labels)
    assert drawn.standard_error(rows) == pytest.approx(standard_error_of_mean(rows), rel=0.15)
