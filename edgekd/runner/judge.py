"""Judging: outputs against the reference, in steps. The host judges by these functions, too."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

import numpy as np

from edgekd.runner.bundle import amount
from edgekd.runner.errors import RunnerError

STEP_LIMITS = ("max_steps", "p999_steps")
STEP_SLACK = 1e-3  # two steps apart in float32 may read 2.0000002
CLEAR_MARGIN_STEPS = 4.0  # an argmax counts only where the reference's two best are further apart than this
INDEPENDENT = 1.6  # drift that roundings explain: sqrt(2) where two have nothing in common, and what chance adds

# What a manifest says of its outputs is believed as far as its few golden samples bear it out.
MOST_CHANGED = 0.1  # of the golden indices, by quantising: a tenth of the classes of pixels, say
MOST_NOISE = 0.133  # of the golden outputs' own root mean square: 17.5 dB, where parity asks for 20 of more samples
LEAST_SPREAD_STEPS = 6.0  # of the golden outputs, root mean square: what moves less would agree with anything


def tightened(most: Dict[str, float], asked: Any) -> Dict[str, float]:
    """A runtime's tolerance, where a manifest asks for more of its outputs that; it cannot ask for less.

    Only where classes are to agree at all is the manifest's to say: embeddings have none.
    """
    known = isinstance(asked, dict) and set(asked) <= {*STEP_LIMITS, "agreement"}
    if not (known and all(map(amount, asked.values()))):
        raise RunnerError("bad-input", "manifest.json: unknown tolerance: {}".format(asked))
    limits = dict(asked, **{key: min(most[key], asked.get(key, most[key])) for key in STEP_LIMITS if key in most})
    if "agreement" in asked or not asked:
        limits["agreement"] = max(most["agreement"], asked.get("agreement", 0.0))
    return limits


def judge(spec: Dict[str, Any], reference: Any, output: Any, tolerance: Dict[str, float]) -> Dict[str, Any]:
    """Fields of a `golden` record. A step is the spec's own, or 1 for integers, or the reference's range / 255.

    In a deep network a value between two steps, rounded the other way, moves the output by more than the tolerance.
    `drift` is the distance from the reference as a multiple of the reference's own from the float model; of indices,
    distances are shares of them that differ.
    """
    record: Dict[str, Any] = dict.fromkeys(("max_steps", "p999_steps", "argmax_agreement", "drift", "unproven"))
    record["output"] = spec["name"]
    if output.shape != reference.shape or not (np.isfinite(output).all() and np.isfinite(reference).all()):
        return dict(record, ok=False)
    counted = reference.dtype.kind in "iub" and not spec.get("scale")  # such as a class's index
    scale = spec.get("scale") or 1.0
    step = scale if reference.dtype.kind in "iub" else float_step(reference)
    step = step if counted else spec.get("step") or step
    zero = spec.get("zero_point") or 0
    expected, found = ((array.astype(np.float64) - zero) * (scale / step) for array in (reference, output))
    most_noise = MOST_NOISE * float(np.sqrt(np.mean(expected**2)))
    steps, noise = np.abs(found - expected), min((spec.get("noise") or 0.0) / step, most_noise)
    record["max_steps"] = float(steps.max())
    record["p999_steps"] = p999(steps)
    record["drift"] = rms(found, expected) / noise if noise else None
    flat = (len(expected), -1)
    record["argmax_agreement"] = agreement(expected.reshape(flat), found.reshape(flat), max(1.0, noise))
    if counted:
        apart, changed = float(np.mean(steps > 0)), min(spec.get("noise") or 0.0, MOST_CHANGED)
        record["drift"] = apart / changed if changed else None
        return dict(record, ok=not apart or is_rounding(record["drift"]))
    record["unproven"] = immobile(spec["name"], float(expected.std()))
    return dict(record, ok=holds(record, tolerance) and not record["unproven"])


def immobile(name: str, spread: float) -> Optional[str]:
    """Why golden outputs prove nothing, where they hardly move."""
    told = "the golden outputs of {!r} move by {:.1f} steps (needs {:g}): they would agree with anything"
    return told.format(name, spread, LEAST_SPREAD_STEPS) if spread < LEAST_SPREAD_STEPS else None


def holds(record: Dict[str, Any], tolerance: Dict[str, float]) -> bool:
    """Whether the classes agree and the distance is within the tolerance, or no more than roundings explain."""
    agreeing = record["argmax_agreement"] is None or record["argmax_agreement"] >= tolerance.get("agreement", 0)
    near = not any(beyond(key, record[key], tolerance) for key in STEP_LIMITS)
    return agreeing and (near or is_rounding(record["drift"]))


def beyond(limit: str, steps: Optional[float], tolerance: Mapping[str, float]) -> bool:
    """Whether a distance exceeds one of `STEP_LIMITS`, where the tolerance has it."""
    return limit in tolerance and steps is not None and steps > tolerance[limit] + STEP_SLACK


def is_rounding(drift: Optional[float]) -> bool:
    """Whether a drift is no more than two independent roundings explain."""
    return drift is not None and drift <= INDEPENDENT


def p999(steps: Any) -> float:
    """The 99.9th percentile: of few elements, one outlier is forgiven."""
    return float(np.sort(steps, axis=None)[int(0.999 * (steps.size - 1))])


def float_step(reference: Any) -> float:
    """Step of an output that no quantiser makes; 1 for a constant one."""
    return float(np.ptp(reference)) / 255 or 1.0


def rms(output: Any, reference: Any) -> float:
    """Root mean square of a difference."""
    return float(np.sqrt(np.mean((output.astype(np.float64) - reference) ** 2)))


def agreement(expected: Any, found: Any, unit: float) -> Optional[float]:
    """Equal argmaxes among the samples that the reference decides by more than 4 units; None where there are none."""
    if expected.shape[1] < 2:
        return None
    best = np.sort(expected, axis=1)
    clear = best[:, -1] - best[:, -2] > CLEAR_MARGIN_STEPS * unit
    if not clear.any():
        return None
    return float(np.mean(expected[clear].argmax(1) == found[clear].argmax(1)))
