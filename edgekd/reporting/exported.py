"""What `edgekd export` made of a model, for the terminal: a column for each target."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group

from edgekd.reporting.layer_table import losses_view
from edgekd.reporting.layout import Beside
from edgekd.reporting.words import milliseconds, size

ISLAND = "float island: "
SHOWN = 3  # outputs
Report = Mapping[str, Any]


def export_table(reports: Report | Sequence[Report]) -> Group:
    """Reports of `export_file`: what to ship, how much of it is int8 and why not all, how far from float it is.

    What each layer loses, where that was asked for, lies below.
    """
    told = [reports] if isinstance(reports, Mapping) else reports
    losses = losses_view(told)
    return Group(Beside([list(_facts(report)) for report in told]), *([losses] if losses.sections else ()))


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    yield "target", report["target"]
    yield "status", report["status"]
    if report.get("reason"):
        yield "reason", report["reason"]
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


def _ship(report: Report) -> str:
    kept = len((report.get("refined") or {}).get("kept", ()))
    if report.get("mixed"):
        return f"int8, with {len(report['mixed']['kept'])} layers in float"
    if "precision" in report:
        return f"{report['precision']}: int8 does not hold"
    return f"int8, with {kept} tensor{'s' if kept > 1 else ''} in float" if kept else "int8"


def _speed(precision: str, speed: Report) -> str:
    """How it compares with float, and what follows from that."""
    times = f"{milliseconds(speed['ours_ms'])} beside {milliseconds(speed['float_ms'])}"
    if speed["pays"] is None:
        return f"{precision} is as fast as float here: {times}"
    ratio = speed["float_ms"] / speed["ours_ms"]
    if speed["pays"]:
        return f"{precision} is {ratio:.2g} × as fast as float here: {times}"
    return f"{precision} is slower than float here: {times}; it is for its size, or for another machine"


def _outputs(parts: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    worst = sorted(parts.items(), key=lambda item: item[1])
    if len(worst) > 1:
        shown = ", ".join(f"{part} {db:.1f}" for part, db in worst[:SHOWN])
        yield "by output", shown + (f" and {len(worst) - SHOWN} more" if len(worst) > SHOWN else "") + " dB"


def _parity(report: Report) -> Iterator[tuple[str, str]]:
    rows = report.get("parity") or []
    if rows and "precision" not in report:
        held = sum(row["ok"] for row in rows)
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
