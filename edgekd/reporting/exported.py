"""What `edgekd export` made of a model, for the terminal: a column for each target."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

from pydantic import JsonValue
from rich.console import Group

from edgekd.measure.statistics import SLOWDOWN
from edgekd.reporting.layer_table import losses_view
from edgekd.reporting.layout import Beside
from edgekd.reporting.words import milliseconds, size

ISLAND = "float island: "
SHOWN = 3  # outputs
REFUSED = ("failed", "refused")  # what nothing was written for, the worse first


class RefinedReport(TypedDict):
    """What was kept in float where int8 was far, and how near, in dB, the worst `part` of the outputs came by that."""

    part: str
    int8_db: float
    db: float
    costly: list[str]
    kept: list[str]
    tried: int
    seconds: float
    cut_short: bool
    options: str


class MixedReport(TypedDict):
    """The layers that were kept in float by what they cost: nearness before and after, times of one inference."""

    kept: list[str]
    int8_db: float
    db: float
    int8_us: float
    predicted_us: float
    measured_us: float


class SpeedReport(TypedDict):
    """How what was written compares with float: medians, ms; `pays` is None where nothing can be said."""

    ours_ms: float
    float_ms: float
    pays: bool | None
    ratio: float


class ExportReport(TypedDict, total=False):
    """What became of a model for a target, as JSON; of one that was refused there are target, status and reason, and
    what to type `next`.

    `layers` are its layers' losses where they were asked for, else what proved it layer by layer.
    """

    refined: RefinedReport
    mixed: MixedReport
    bundle: str
    target: str
    bytes: int
    precision: str
    notes: list[str]
    layers_int8: list[int]
    db_from_float: float | None
    outputs_db: dict[str, float]
    status: str
    reason: str | None
    next: str
    parity: list[dict[str, JsonValue]]
    layers: list[dict[str, JsonValue]] | dict[str, JsonValue] | None
    executed: str
    graph: list[dict[str, JsonValue]]
    speed: SpeedReport


def export_table(reports: ExportReport | Sequence[ExportReport]) -> Group:
    """Reports of `export_file`: what to ship, how much of it is int8 and why not all, how far from float it is.

    What each layer loses, where that was asked for, lies below.
    """
    told = [reports] if isinstance(reports, dict) else reports
    losses = losses_view(told)
    return Group(Beside([list(_facts(report)) for report in told]), *([losses] if losses.sections else ()))


def _facts(report: ExportReport) -> Iterator[tuple[str, str]]:
    yield "target", report["target"]
    yield "status", report["status"]
    if reason := report.get("reason"):
        yield "reason", reason
    if step := report.get("next"):
        yield "next", step
    if "bundle" not in report:
        return
    yield "ship", _ship(report)
    yield "size", size(report["bytes"])
    if report.get("speed"):
        yield "speed", _speed(report.get("precision", "int8"), report["speed"])
    if "layers_int8" in report and "precision" not in report:
        int8, floats = report["layers_int8"]
        yield "layers", f"{int8} of {int8 + floats} in int8"
    if report["db_from_float"] is not None:
        yield "from float", f"{report['db_from_float']:.1f} dB at the worst part of the outputs"
    yield from _outputs(report.get("outputs_db", {}))
    yield from _parity(report)
    if "executed" in report:
        yield "executed", report["executed"]
    for note in _notes(report["notes"]):
        yield "note", note


def _ship(report: ExportReport) -> str:
    kept = len(report["refined"]["kept"]) if "refined" in report else 0
    if report.get("mixed"):
        return f"int8, with {len(report['mixed']['kept'])} layers in float"
    if "precision" in report:
        return f"{report['precision']}: int8 does not hold"
    return f"int8, with {kept} tensor{'s' if kept > 1 else ''} in float" if kept else "int8"


def _speed(precision: str, speed: SpeedReport) -> str:
    """How it compares with float, and what follows from that."""
    times = f"{milliseconds(speed['ours_ms'])} beside {milliseconds(speed['float_ms'])}"
    ratio = speed["float_ms"] / speed["ours_ms"]
    if speed["pays"] is None:
        if max(ratio, 1 / ratio) <= SLOWDOWN:
            return f"{precision} is as fast as float here: {times}"
        return f"whether {precision} is faster than float here is unclear: {times}"
    if speed["pays"]:
        return f"{precision} is {ratio:.2g} × as fast as float here: {times}"
    return f"{precision} is slower than float here: {times}; it is for its size, or for another machine"


def _outputs(parts: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    worst = sorted(parts.items(), key=lambda item: item[1])
    if len(worst) > 1:
        shown = ", ".join(f"{part} {db:.1f}" for part, db in worst[:SHOWN])
        yield "by output", shown + (f" and {len(worst) - SHOWN} more" if len(worst) > SHOWN else "") + " dB"


def _parity(report: ExportReport) -> Iterator[tuple[str, str]]:
    rows = report.get("parity") or []
    if rows and "precision" not in report:
        held = sum(bool(row["ok"]) for row in rows)
        batches = ", ".join(dict.fromkeys(str(row["batch"]) for row in rows))
        yield "parity", f"{held} of {len(rows)} cases hold against the reference, at batch {batches}"


def _notes(notes: Sequence[str]) -> Iterator[str]:
    """Notes, with those about single operations of one kind counted."""
    kinds = Counter(_kind(note) for note in notes)
    seen: Counter[str] = Counter()
    for note in notes:
        kind = _kind(note)
        seen[kind] += 1
        if seen[kind] == 1:
            yield f"{note}; {kinds[kind] - 1} more of this kind" if kinds[kind] > 1 else note


def _kind(note: str) -> str:
    """What a note is about, without the name of the operation."""
    if note.startswith(ISLAND):
        return ISLAND + note.partition("(")[2].partition(")")[0]
    return note.partition(" at ")[0] if " in float at " in note else note
