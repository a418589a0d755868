"""What a target's status is: proven, broken, or neither, over variants and over seeds."""

import pytest

from edgekd.metrics import Scale
from edgekd.pipeline.deploy import judged
from edgekd.pipeline.summary import SeedResult, target_over
from edgekd.reporting.run_record import TargetRecord
from tests.pipeline.test_variants import row


@pytest.mark.parametrize(
    ("int8", "floating", "weak", "status"),
    [
        (None, None, False, "ok"),
        ("7 steps", "too far", False, "failed"),
        ("7 steps", None, False, "fallback"),
        ("inconclusive: it hardly varies", "too far", True, "unverified"),  # nothing is known to be wrong
        ("inconclusive: it hardly varies", None, True, "fallback"),
    ],
)
def test_what_proves_nothing_is_neither_right_nor_wrong(
    int8: str | None, floating: str | None, weak: bool, status: str
) -> None:
    rows = {"int8": row(1, 100, broken=int8), "float": row(2, 400, broken=floating)}
    verdict = judged(rows, 0.005, Scale("accuracy"), weak)
    assert (verdict["status"], verdict["reason"]) == (status, int8)


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        (("ok", "ok"), "ok"),
        (("ok", "unverified"), "unverified"),
        (("ok", "skipped"), "skipped"),
        (("unverified", "fallback"), "fallback"),
        (("failed", "fallback"), "failed"),
    ],
)
def test_the_worst_seed_speaks_for_all(statuses: tuple[str, str], worst: str) -> None:
    seeds = [
        SeedResult(seed, {}, {}, {}, {}, {"t": TargetRecord.parse({"backend": "onnxruntime", "status": status}, "t")})
        for seed, status in enumerate(statuses)
    ]
    for order in (seeds, seeds[::-1]):
        assert target_over("t", order).status == worst
