"""The parity gate: what the device computed against the reference, output by output, in steps.

A step is the scale of the quantiser that makes an output, or that of one of eight bits as wide; for a float output, the
reference's range over the parity set / 255. Arrays are float as the model sees them (integer-typed
outputs such as class indices stay integers).

Steps alone cannot judge a deep network. A value that lies between two integers may round to either, and what comes of
it grows from layer to layer until two faithful runtimes differ by as much as each differs from the float model: their
roundings have become independent. That distance, the drift, is told apart from a fault by looking at each layer alone
(`edgekd.backends.layers`).
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekd.distance import Steps, clear_agreement, sqnr, steps_apart
from edgekd.runner.judge import STEP_LIMITS, beyond, float_step, is_rounding, rms
from edgekd.schema import Schema

Array = NDArray[Any]

LEAST_SQNR_DB = 30.0  # of an output that classifies nothing
LEAST_MOVEMENT_STEPS = 8.0  # a reference that hardly moves would agree with anything
RARE = 4.0  # as many times further the farthest value has to be from its mean: eight times what a backend may be off
MOST_LOST = 0.5  # of what rare values move: what ignores them is off by all of it
LEAST_REFERENCE_SQNR_DB = 20.0  # int8 against float: a reference further off than this is noise itself
HISTOGRAM_STEPS = 16
DOES_NOT_COUNT = "inconclusive: "


class Histogram(Schema):
    """How many elements lie how many whole steps from the reference; the last entry holds all beyond it."""

    steps: tuple[int, ...]
    counts: tuple[int, ...]


class Parity(Schema):
    """One output at one batch size. `exact` is the share of elements that round to the reference's own step.

    `step` is None for an integer output; `agreement` where nothing is classified, or nothing clearly; `sqnr`, in dB,
    where nothing differs. `drift` is the distance from the reference as a multiple of the reference's own from the
    float model: root mean squares both, or shares of indices that differ. `drifts` says that independent roundings
    would explain a distance that is too many steps, `beyond` what of the tolerance is exceeded. `proof` says what
    vouches for an ok row: its steps, or its layers one by one. A row that does not count is not ok: its case proves
    nothing, and `reason` says why.
    """

    output: str
    batch: int
    n: int
    step: float | None = None
    max: float | None = None
    p999: float | None = None
    exact: float | None = None
    agreement: float | None = None
    sqnr: float | None = None
    drift: float | None = None
    drifts: bool = False
    beyond: str | None = None
    histogram: Histogram | None = None
    proof: Literal["steps", "layers"] = "steps"
    ok: bool
    reason: str | None = None

    @property
    def counts(self) -> bool:
        """Whether the case can prove anything."""
        return not (self.reason or "").startswith(DOES_NOT_COUNT)


def compare(
    name: str,
    output: Array,
    reference: Array,
    tolerance: Mapping[str, float],
    *,
    batch: int,
    step: float | None = None,
    unquantized: Array | None = None,
    classes: bool = False,
) -> Parity:
    """The row of one output, samples first.

    `step` is None for a float output; `unquantized` is what the float model computes where `reference` is int8. Of
    `classes` the largest of a sample's values has to be the same; else the distance counts alone, in decibels too.
    """
    row = Parity(output=name, batch=batch, n=len(reference), ok=False)
    if output.shape != reference.shape:
        return row.model_copy(update={"reason": f"shape {output.shape} instead of {reference.shape}"})
    if reference.dtype.kind != "f":
        return _equality(row, output, reference, unquantized)
    if not np.isfinite(output).all():
        return row.model_copy(update={"reason": "the output is not finite"})
    step, noise = step or float_step(reference), cost(reference, unquantized)
    classes = classes and reference.ndim == 2  # those of pixels are too many: their distance counts
    row = _distances(row, output, reference.astype(np.float64), step, noise, classes)
    wrong, far = _disagreement(row, tolerance), _distance(row, classes, tolerance)
    far = far or _unfollowed(output, reference.astype(np.float64), step)
    void = proves_nothing(reference, step, unquantized)
    drifts = far is not None and not (wrong or void) and is_rounding(row.drift)
    excess = wrong or far
    reason = void or excess  # first whether the reference says anything, then the runtime
    return row.model_copy(update={"ok": reason is None, "reason": reason, "drifts": drifts, "beyond": excess})


def proves_nothing(reference: Array, step: float, unquantized: Array | None) -> str | None:
    """Why a case does not count: its reference hardly moves between inputs, or is far from the float model."""
    movement = _movement(reference.astype(np.float64)) / step
    if movement < LEAST_MOVEMENT_STEPS:
        return f"{DOES_NOT_COUNT}the reference varies by {movement:.1f} steps only (needs {LEAST_MOVEMENT_STEPS:g})"
    quality = None if unquantized is None else sqnr(reference, unquantized)
    if quality is not None and quality < LEAST_REFERENCE_SQNR_DB:
        needed = f"needs {LEAST_REFERENCE_SQNR_DB:g}"
        return f"{DOES_NOT_COUNT}the int8 reference is {quality:.1f} dB from the float model ({needed})"
    return None


def _movement(reference: NDArray[np.float64]) -> float:
    """How far values are from their mean over the inputs: root mean square, or a part of the largest distance.

    The latter speaks for outputs that are nearly always the same, as of what waits for a word or finds few boxes.
    """
    apart = np.abs(reference - reference.mean(axis=0))
    return max(float(np.sqrt(np.mean(apart**2))), float(apart.max(initial=0.0)) / RARE)


def _unfollowed(output: Array, reference: NDArray[np.float64], step: float) -> str | None:
    """What is wrong where only rare values move, which percentiles and the whole's decibels pass over."""
    apart = reference - reference.mean(axis=0)
    moved = np.abs(apart) >= LEAST_MOVEMENT_STEPS * step
    if np.sqrt(np.mean(apart**2)) >= LEAST_MOVEMENT_STEPS * step or not moved.any():
        return None
    off, moves = (float(np.sqrt(np.mean(values[moved] ** 2))) / step for values in (output - reference, apart))
    if off <= MOST_LOST * moves:
        return None
    return f"where the reference moves, by {moves:.0f} steps, the output is off by {off:.0f}"


def _disagreement(row: Parity, tolerance: Mapping[str, float]) -> str | None:
    least = tolerance.get("agreement", 0.0)
    if row.agreement is not None and row.agreement < least:
        return f"{row.agreement:.2%} of the clear inputs are classified alike, {least:.0%} required"
    return None


def _distance(row: Parity, classes: bool, tolerance: Mapping[str, float]) -> str | None:
    for kind, value in zip(STEP_LIMITS, (row.max, row.p999), strict=True):
        if beyond(kind, value, tolerance):
            return f"{kind.removesuffix('_steps')} is {value:.2f} steps, {tolerance[kind]:g} allowed"
    if not classes and row.sqnr is not None and row.sqnr < LEAST_SQNR_DB:
        return f"SQNR is {row.sqnr:.1f} dB, {LEAST_SQNR_DB:g} required"
    return None


def _equality(row: Parity, output: Array, reference: Array, unquantized: Array | None) -> Parity:
    """Indices, such as classes: all have to be equal, or no more differ than roundings explain."""
    exact, changed = float(np.mean(output == reference)), cost(reference, unquantized)
    wrong = None if exact == 1 else f"{exact:.2%} of the elements are equal, all have to be"
    same = len(reference) > 1 and bool(np.all(reference == reference[:1]))
    reason = f"{DOES_NOT_COUNT}the reference is the same for every input" if same else wrong
    drift = (1 - exact) / changed if changed else None
    drifts = wrong is not None and not same and is_rounding(drift)
    told = {"exact": exact, "drift": drift, "drifts": drifts, "beyond": wrong, "ok": reason is None, "reason": reason}
    return row.model_copy(update=told)


def cost(reference: Array, unquantized: Array | None) -> float | None:
    """What quantising costs an output: a root mean square, of indices the share that differs; None where unknown."""
    if unquantized is None:
        return None
    return rms(reference, unquantized) if reference.dtype.kind == "f" else float(np.mean(reference != unquantized))


def _distances(
    row: Parity, output: Array, reference: NDArray[np.float64], step: float, noise: float | None, classes: bool
) -> Parity:
    apart = steps_apart(output, reference, step)
    figures = asdict(Steps.of(apart)) | {
        "step": step,
        "agreement": clear_agreement(output, reference, max(step, noise or 0)) if classes else None,
        "sqnr": sqnr(output, reference),
        "drift": rms(output, reference) / noise if noise else None,
        "histogram": _histogram(apart),
    }
    return row.model_copy(update=figures)


def _histogram(steps: NDArray[np.float64]) -> Histogram:
    whole = np.minimum(np.rint(steps), HISTOGRAM_STEPS).astype(int)
    found, counts = np.unique(whole, return_counts=True)
    return Histogram(steps=tuple(found.tolist()), counts=tuple(counts.tolist()))
