"""The distillation tax: what a student lacks of its teacher, and how much of the gap teaching has closed."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of a claim about two metrics on n samples; below it teacher and scratch cannot be told apart.
LEAST_STANDARD_ERRORS = 2.0
_RANKS = 1.06  # the variance of a rank correlation's Fisher z is 1.06 / (n - 3) (Fieller et al., Biometrika 1957)


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (null for one seed) and the values themselves."""
    return {"mean": mean(values), "std": _spread(values), "seeds": list(values)}


def distillation(
    metric: str,
    teacher: float,
    scratch: Sequence[float],
    student: Sequence[float],
    agreement: Sequence[float],
    samples: int,
) -> dict[str, Any]:
    """Tax (teacher - student) and gap recovered ((student - scratch) / (teacher - scratch)), of the seeds' means.

    Each has its deviation over seeds beside it, the teacher and the gap held fixed. The gap recovered is null, with the
    reason, without a scratch control or where teacher - scratch is below two standard errors of that difference.
    `samples` are the independent ones: of pairs, half the rows.
    """
    found = {
        "tax": teacher - mean(student), "tax_std": _spread(student),
        "gap_recovered": None, "gap_recovered_std": None,
        "agreement": mean(agreement), "agreement_std": _spread(agreement),
    }  # fmt: skip
    if not scratch:
        return found | {"reason": "there is no scratch control"}
    gap = teacher - mean(scratch)
    errors = [standard_error(metric, value, samples) for value in (teacher, mean(scratch))]
    least = LEAST_STANDARD_ERRORS * sum(error**2 for error in errors) ** 0.5
    if gap < least or gap <= 0:
        return found | {"reason": f"teacher - scratch is {100 * gap:.2f} points; below {100 * least:.2f} it is chance"}
    won = [(taught - alone) / gap for taught, alone in zip(student, scratch, strict=True)]
    return found | {"gap_recovered": mean(won), "gap_recovered_std": _spread(won)}


def chance(metric: str, labels: NDArray[Any]) -> float:
    """What a metric is worth without looking at inputs: the share of the commonest class; of ranks, 0."""
    return 0.0 if metric == "spearman" else float(np.bincount(labels).max() / len(labels))


def may_be_chance(metric: str, value: float, level: float, samples: int) -> bool:
    """Whether `value` is no more than two standard errors above what `chance` is worth, or below it."""
    return value < level + LEAST_STANDARD_ERRORS * standard_error(metric, level, samples)


def standard_error(metric: str, value: float, samples: int) -> float:
    """Of an accuracy, √(p(1 - p)/n); of a rank correlation, (1 - r²) · √(1.06/(n - 3)), from Fisher's z."""
    if metric == "spearman":
        return float((1 - value**2) * (_RANKS / max(1, samples - 3)) ** 0.5)
    return float((value * (1 - value) / samples) ** 0.5)


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
