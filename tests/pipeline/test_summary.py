"""A target's record over its seeds: metrics of all, the rest of the first, the worst status of any."""

from typing import Any

from edgekd.pipeline.summary import SeedResult, target_over
from edgekd.reporting.run_record import TargetRecord


def seed(number: int, status: str, metric: float | None, labels: tuple[str, str] = ("int8", "float")) -> SeedResult:
    document: dict[str, Any] = {"backend": "tflite", "status": status, "reason": f"{status} {number}", "lost": True}
    if metric is not None:
        rows = {label: {"bytes": number, "metric": metric + place} for place, label in enumerate(labels)}
        document |= {"metric": metric, "variants": rows}
    return SeedResult(number, {}, {}, {}, {}, {"x": TargetRecord.parse(document, "the test")})


def test_metrics_are_those_of_all_seeds_by_the_place_of_their_variant() -> None:
    """Only the first seed is timed, and only timing tells that the second variant is bf16."""
    merged = target_over("x", [seed(0, "ok", 0.5, ("int8", "bf16")), seed(1, "ok", 0.7)])
    assert merged.document() == {
        "backend": "tflite", "status": "ok", "reason": "ok 0",
        "metric": {"mean": 0.6, "std": 0.14142135623730948, "seeds": [0.5, 0.7]},
        "variants": {
            "int8": {"bytes": 0, "metric": {"mean": 0.6, "std": 0.14142135623730948, "seeds": [0.5, 0.7]}},
            "bf16": {"bytes": 0, "metric": {"mean": 1.6, "std": 0.14142135623730948, "seeds": [1.5, 1.7]}},
        },
    }  # fmt: skip


def test_the_worst_seed_says_what_went_wrong_and_no_metric_is_made_up() -> None:
    merged = target_over("x", [seed(0, "ok", 0.5), seed(1, "failed", None)])
    assert merged.document() == {"backend": "tflite", "status": "failed", "reason": "seed 1: failed 1"}
