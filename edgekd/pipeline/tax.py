"""The distillation tax: what a student lacks of its teacher, and how much of the gap teaching has closed."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from edgekd.metrics import Metric
from edgekd.pipeline.documents import ScoresDocument

# Of a claim about two metrics on n samples; below it teacher and scratch cannot be told apart.
LEAST_STANDARD_ERRORS = 2.0


class Scored(NamedTuple):
    """A metric and its standard error."""

    value: float
    error: float


def over_seeds(values: Sequence[float]) -> ScoresDocument:
    """Mean, sample standard deviation (null for one seed) and the values themselves."""
    return {"mean": mean(values), "std": _spread(values), "seeds": list(values)}


def distillation(
    metric: Metric,
    teacher: Scored,
    scratch: Sequence[Scored],
    student: Sequence[float],
    agreement: Sequence[float],
) -> dict[str, object]:
    """Tax (teacher - student) and gap recovered ((student - scratch) / (teacher - scratch)), of the seeds' means.

    Differences are positive where the first is the better one, whichever way the metric goes.

    Each has its deviation over seeds beside it, the teacher and the gap held fixed. The gap recovered is null, with the
    reason, without a scratch control or where teacher - scratch is below two standard errors of that difference.
    """
    found: dict[str, object] = {
        "tax": metric.gain(teacher.value, mean(student)), "tax_std": _spread(student),
        "gap_recovered": None, "gap_recovered_std": None,
        "agreement": mean(agreement), "agreement_std": _spread(agreement),
    }  # fmt: skip
    if not scratch:
        return found | {"reason": "there is no scratch control"}
    alone = mean(one.value for one in scratch)
    gap = metric.gain(teacher.value, alone)
    least = LEAST_STANDARD_ERRORS * (teacher.error**2 + mean(one.error for one in scratch) ** 2) ** 0.5
    if gap < least or gap <= 0:
        told = f"teacher - scratch is {metric.difference(gap, 2).lstrip('+')}".replace("\u00a0", " ")
        return found | {"reason": f"{told}; below {metric.figures(least, 2)} it is chance"}
    won = [metric.gain(taught, one.value) / gap for taught, one in zip(student, scratch, strict=True)]
    return found | {"gap_recovered": mean(won), "gap_recovered_std": _spread(won)}


def may_be_chance(metric: Metric, value: float, level: float, error: float) -> bool:
    """Whether `value` is no more than two standard errors better than what `level` is worth, or worse."""
    return metric.gain(value, level) < LEAST_STANDARD_ERRORS * error


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
