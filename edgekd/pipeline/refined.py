"""Whether int8 is far from float, what is done about it, and how that is told.

Tensors are kept in float where a target computes in float beside integers; elsewhere activations get more bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from typing import Any

from edgekd.pipeline.parity_evidence import Expected
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.refine import ENOUGH_DB, Refined, Start, refine
from edgekd.quantization.scheme import Scheme, find_scheme
from edgekd.quantization.sensitivity import Nearness

NAMED = 3  # tensors in a line


@dataclass(frozen=True)
class Widened:
    """What is expected of a model in the wider scheme, and how near float it was before and is now."""

    expected: Expected
    scheme: Scheme
    before: Nearness
    after: Nearness

    def __str__(self) -> str:
        far = f"int8 is {self.before.db:.1f} dB from float at {self.before.part}"
        return f"{far}; activations of 16 bits ({self.scheme.name}) give {self.after.db:.1f} dB, and are used"


def widen_where_far(
    calibrator: Calibrator, scheme: Scheme, int8: Expected, keep_float: Sequence[str]
) -> Widened | None:
    """Return the form of a float model in the wider scheme where its int8 form is too far from it; None else."""
    before = int8.near
    if scheme.wider is None or before.db >= ENOUGH_DB:
        return None
    wider = find_scheme(scheme.wider)
    wide = Expected.of(calibrator.quantized(wider, keep_float), int8.inputs, int8.unquantized)
    return Widened(wide, wider, before, wide.near)


def refine_where_far(
    calibrator: Calibrator, scheme: Scheme, int8: Expected, keep_float: Sequence[str], seconds: float
) -> Refined | None:
    """Return the mixed form of a float model where its int8 form is too far from it; None where that will do."""
    near = int8.near
    if near.db >= ENOUGH_DB:
        return None
    start = Start(int8.model, int8.inputs, int8.unquantized or {}, near)
    return refine(calibrator, scheme, start, keep_float, seconds)


def described(refined: Refined) -> str:
    """Return one line: how far int8 is, what costs most, and what keeping it in float gives."""
    far = f"int8 is {refined.before.db:.1f} dB from float at {refined.before.part}"
    if not refined.costly:
        return f"{far}; there was no time to find out where: --refine gives it more"
    costly = f"the tensors that cost most are {', '.join(refined.costly)}"
    if not refined.kept:
        return f"{far}; {costly}; keeping them in float was not enough in the time there was"
    keeping = options(refined)
    if len(refined.kept) > NAMED:
        keeping = f"keeping them and {len(refined.kept) - len(refined.costly)} more in float (--json names them)"
    return f"{far}; {costly}; {keeping} gives {refined.after.db:.1f} dB, and is done"


def options(refined: Refined) -> str:
    """Return the options that would ask for the same again."""
    return " ".join(f"--keep-float '{escape(edge)}'" for edge in refined.kept)


def rows_of(refined: Refined) -> dict[str, Any]:
    """Return the same as data."""
    return {
        "part": refined.before.part,
        "int8_db": round(refined.before.db, 1),
        "db": round(refined.after.db, 1),
        "costly": list(refined.costly),
        "kept": list(refined.kept),
        "options": options(refined),
    }
