"""Whether int8 is far from float, what is done about it, and how that is told.

Tensors are kept in float where a target computes in float beside integers; elsewhere activations get more bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape

from edgekd.pipeline.parity_evidence import Expected
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.refine import ENOUGH_DB, SECONDS, Refined, Start, refine
from edgekd.quantization.scheme import Scheme, find_scheme
from edgekd.quantization.sensitivity import Nearness
from edgekd.reporting.exported import RefinedReport

NAMED = 3  # tensors in a line
LONGER = 4.0  # times the seconds that were too few


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
    start = Start(int8.model, int8.inputs, int8.outputs, int8.unquantized or {}, near)
    return refine(calibrator, scheme, start, keep_float, seconds)


def described(refined: Refined) -> str:
    """Return one line: how far int8 is, what costs most, what keeping it in float gives, and what ended the search."""
    told = [f"int8 is {refined.before.db:.1f} dB from float at {refined.before.part}"]
    if refined.costly:
        told.append(f"the tensors that cost most are {', '.join(refined.costly)}")
    if refined.kept:
        told.append(f"keeping {_kept(refined)} gives {refined.after.db:.1f} dB, and is done")
    elif not refined.cut_short:
        told.append("keeping tensors in float brings it no nearer")
    return "; ".join([*told, *cut_short(refined)])


def cut_short(refined: Refined | None) -> list[str]:
    """Return what to say, and to type, where time ended the search; nothing where it came to its end."""
    if refined is None or not refined.cut_short:
        return []
    tried = f"{refined.tried} candidate{'' if refined.tried == 1 else 's'}"
    more = max(SECONDS, LONGER * refined.seconds)
    return [f"the search was cut short after {refined.seconds:g} s and {tried}: --refine {more:g} gives it more time"]


def all_in_float(refined: Refined, layers: int) -> str:
    """Return one line on a search that left no layer in int8."""
    far = f"int8 is {refined.before.db:.1f} dB from float"
    if refined.cut_short:
        return f"{far}, and the nearest candidate keeps all of its {layers} layers there"
    return f"{far}, and each of its {layers} layers has to stay there"


def _kept(refined: Refined) -> str:
    if len(refined.kept) <= NAMED:
        return options(refined)
    others = len(set(refined.kept) - set(refined.costly))
    return f"{f'them and {others} more' if refined.costly else f'{others} tensors'} in float (--json names them)"


def options(refined: Refined) -> str:
    """Return the options that would ask for the same again."""
    return " ".join(f"--keep-float '{escape(edge)}'" for edge in refined.kept)


def rows_of(refined: Refined) -> RefinedReport:
    """Return the same as data."""
    return {
        "part": refined.before.part,
        "int8_db": round(refined.before.db, 1),
        "db": round(refined.after.db, 1),
        "costly": list(refined.costly),
        "kept": list(refined.kept),
        "tried": refined.tried,
        "seconds": refined.seconds,
        "cut_short": refined.cut_short,
        "options": options(refined),
    }
