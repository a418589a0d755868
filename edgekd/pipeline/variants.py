"""What competes on a target: whether int8 pays there, which variant to ship, and the line that says why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.distance import clear_agreement, sqnr
from edgekd.measure.statistics import Latency
from edgekd.metrics import Scale
from edgekd.runner.judge import float_step

Array = NDArray[Any]

INT8, FLOAT = "int8", "float"
# How near the float graph's answers each precision has to come; int8 answers to its own graph, step by step.
LEAST_SQNR_DB: dict[str, float] = {"float": 60.0, "float16": 40.0, "dynamic-range": 20.0}
LEAST_AGREEMENT = 0.99
BARELY = 0.05  # of a ratio: what two digits would print as 1
ALIKE = 0.0005  # of a metric or of a ratio's hundredth: less than what is printed


def float_mismatch(answers: Array, reference: Array, precision: str, classes: bool) -> str | None:
    """Why a device's answers are not those of the float graph in this precision; None where they are."""
    if not np.isfinite(answers).all():
        return "its output is not finite"
    found, least = sqnr(answers, reference), LEAST_SQNR_DB[precision]
    if found is not None and found < least:
        return f"SQNR to the float graph is {found:.1f} dB, {least:g} required"
    alike = clear_agreement(answers, reference, float_step(reference)) if classes else None
    if alike is not None and alike < LEAST_AGREEMENT:
        return f"{alike:.2%} of the clear inputs are classified as by the float graph, {LEAST_AGREEMENT:.0%} required"
    return None


@dataclass(frozen=True)
class Variant:
    """One way to run a student: `val` is its metric on the validation split, `broken` why it is not proven."""

    bytes: int
    val: float
    latency: Latency | None = None
    broken: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Variant":
        """A variant from its row of run.json; the latency of an emulated device decides nothing."""
        latency = Latency.parse(row["latency_ms"], "latency_ms") if row.get("latency_ms") else None
        return cls(row["bytes"], row["val"], latency if latency and latency.counts else None, row["broken"])

    def is_faster_than(self, other: "Variant") -> bool:
        """Whether that may be claimed; what was not timed is not faster."""
        if self.latency is None or other.latency is None:
            return other.latency is None and self.latency is not None
        return self.latency.differs_from(other.latency) and self.latency.p50 < other.latency.p50


class VariantSelector:
    """A target's variants by label, from their rows of run.json; int8 may cost `max_drop` of float's metric on val."""

    def __init__(self, rows: Mapping[str, Mapping[str, Any]], max_drop: float, scale: Scale) -> None:
        self.variants, self.max_drop = {label: Variant.of(row) for label, row in rows.items()}, max_drop
        self.scale = scale
        self.keeping = [label for label in self.variants if self._keeps(label)]

    def _keeps(self, label: str) -> bool:
        """Whether a variant is proven and within the limit."""
        variant, plain = self.variants[label], self.variants.get(FLOAT)
        if variant.broken or plain is None:
            return not variant.broken
        return self.scale.gain(variant.val, plain.val) >= -self.scale.allowance(self.max_drop, plain.val)

    @property
    def pays(self) -> bool | None:
        """Whether int8 is faster than the fastest other variant that keeps the metric; None where nobody can tell."""
        if INT8 not in self.keeping:
            return False
        int8, rival = self.variants[INT8], self._fastest(label for label in self.keeping if label != INT8)
        if rival is None or int8.latency is None:
            return None
        other = self.variants[rival]
        return True if int8.is_faster_than(other) else False if other.is_faster_than(int8) else None

    @property
    def best(self) -> str | None:
        """The variant to ship: the fastest that keeps the metric or, where several may be that, the smallest of them.

        None where none is proven.
        """
        fastest = self._fastest(self.keeping)
        rivals = [
            label
            for label in self.keeping
            if fastest is None or not self.variants[fastest].is_faster_than(self.variants[label])
        ]
        return min(rivals, key=lambda label: self.variants[label].bytes, default=None)

    @property
    def advice(self) -> str | None:
        """One line: which variant to ship, and why."""
        chosen = self.best
        if chosen is None:
            return None
        if chosen != INT8:
            return f"{self._failing()}: ship {chosen}, {self._beside(chosen, INT8)}"
        rival = self._fastest(label for label in self.keeping if label != INT8) or FLOAT
        return f"ship int8, {self._beside(INT8, rival)}" if rival in self.variants else "ship int8"

    def _failing(self) -> str:
        """Why int8 is not the choice."""
        int8 = self.variants[INT8]
        if int8.broken:
            return "int8 is not proven here"
        if INT8 in self.keeping:
            return "int8 does not pay here"
        plain = self.variants[FLOAT].val
        lost, allowed = self.scale.gain(plain, int8.val), self.scale.allowance(self.max_drop, plain)
        told = self.scale.difference(lost).replace("\u00a0", " ").lstrip("+")
        return f"int8 loses {told} on val ({self.scale.factor * allowed:.3g} allowed)"

    def _beside(self, label: str, other: str) -> str:
        """How a variant compares with another one in speed, size and metric."""
        mine, theirs = self.variants[label], self.variants[other]
        change, alike = mine.val - theirs.val, self.scale.allowance(ALIKE, theirs.val)
        told = self.scale.difference(change).replace("\u00a0", " ")
        metric = "as accurate" if abs(change) < alike else f"{told} on val"
        return f"{_speed(mine, theirs)} {other}, {_size(mine, theirs)} and {metric}"

    def _fastest(self, labels: Iterable[str]) -> str | None:
        p50 = {label: latency.p50 for label in labels if (latency := self.variants[label].latency) is not None}
        return min(p50, key=p50.__getitem__, default=None)


def _speed(mine: Variant, theirs: Variant) -> str:
    if mine.latency is None or theirs.latency is None:
        return "not timed beside"
    ratio, certain = theirs.latency.p50 / mine.latency.p50, mine.latency.differs_from(theirs.latency)
    doubt = not certain and mine.latency.median.doubt(theirs.latency.median)
    if not certain and (not doubt or abs(ratio - 1) < BARELY):
        return f"{'perhaps ' if doubt else ''}as fast as"
    if abs(ratio - 1) < BARELY:
        return "barely faster than" if ratio > 1 else "barely slower than"
    told = f"{ratio:.2g}× faster than" if ratio > 1 else f"{1 / ratio:.2g}× slower than"
    return f"perhaps {told}" if doubt else told


def _size(mine: Variant, theirs: Variant) -> str:
    ratio = theirs.bytes / mine.bytes
    if abs(ratio - 1) < BARELY:
        return "no larger"
    return f"{ratio:.2g}× smaller" if ratio > 1 else f"{1 / ratio:.2g}× larger"
