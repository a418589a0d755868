"""What `edgekd compare` found, for the terminal: what changed first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from edgekd.measure.comparison import FAILURES
from edgekd.metrics import Scale
from edgekd.reporting.layout import Cell, Grid, Section
from edgekd.reporting.markdown import markdown_table
from edgekd.reporting.words import NONE, milliseconds, percent, signed

MOST_ROWS = 1000
_BAD = "bold red"
_STYLES = {"regression": _BAD, "metric drop": _BAD, "missing": _BAD, "unclear": "yellow", "faster": "green"}
Row = dict[str, Any]


def compare_table(rows: Iterable[Row]) -> Grid:
    """Return rows of `compare_files` by target, those that did not stay the same first; 1000 at most."""
    found = sorted(rows, key=lambda row: bool(row["verdict"] == "same"))
    targets: dict[str, list[Row]] = {}
    for row in found[:MOST_ROWS]:
        targets.setdefault(row["target"], []).append(row)
    sections = [
        Section(name, [_cells(row) for row in own], [note for row in own for note in _notes(row)])
        for name, own in targets.items()
    ]
    more = len(found) - MOST_ROWS
    titles = ("variant", "before", "after", "change", "metric", "verdict")
    return Grid(titles, sections, range(1, 5), f"and {more} more rows, all in --json" if more > 0 else "")


def against_view(found: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Grid:
    """Return the outputs of a model beside those of its reference, by device."""
    verdicts = [found] if isinstance(found, Mapping) else found
    sections = [
        Section(f"{one['model']} beside {one['reference']}, on {one['device']}", [*map(_apart, one["outputs"])],
                [one["error"]] if one["error"] else [])
        for one in verdicts
    ]  # fmt: skip
    return Grid(("output", "samples", "signal to noise", "largest difference", "same class"), sections, range(1, 5))


def claims_table(claims: Iterable[Row]) -> Grid:
    """Return what a card says beside what was found, the wrong first, then what could not be derived."""
    found = sorted(claims, key=lambda claim: (claim["holds"] is not False, claim["holds"] is not None))
    words = {True: ("holds", "green"), False: ("wrong", "bold red"), None: ("not derived", "yellow")}
    rows = [(claim["what"], claim["said"], claim["found"] or NONE, words[claim["holds"]]) for claim in found]
    notes = dict.fromkeys(f"{claim['what']}: {claim['reason']}" for claim in found if claim["reason"])
    return Grid(("number", "said", "found", ""), [Section("", rows, list(notes))], range(1, 3))


def _apart(row: Mapping[str, Any]) -> Sequence[Cell]:
    loud = row["sqnr_db"]
    near = "equal" if loud is None else f"{loud:.1f}\u00a0dB"
    return row["output"], str(row["n"]), near, f"{row['largest']:.3g}", percent(row["agreement"])


def compare_markdown(rows: Iterable[Row], title: str) -> str:
    """Return rows of `compare_files` as a comment for a pull request: the verdict first, the rows as a table below."""
    found = sorted(rows, key=lambda row: (row["verdict"] not in FAILURES, row["verdict"] == "same"))
    failed = sum(row["verdict"] in FAILURES for row in found)
    unclear = sum(row["verdict"] == "unclear" for row in found)
    told = f"{failed or 'none'} of {len(found)} got worse" + (f", {unclear} unclear" if unclear else "")
    titles = ("target", "variant", "before", "after", "change", "metric", "verdict")
    table = markdown_table(titles, ([row["target"], *_plain(row)] for row in found[:MOST_ROWS]))
    notes = [f"- {row['target']} {note}" for row in found[:MOST_ROWS] for note in (*_notes(row), *_step(row))]
    return "\n".join([f"### {title}: {told}", "", table, *([""] if notes else []), *notes, ""])


def _step(row: Row) -> Iterator[str]:
    if row.get("next"):
        yield f"{row['label']}: next: `{row['next']}`"


def _plain(row: Row) -> list[str]:
    return [cell[0] if isinstance(cell, tuple) else str(cell) for cell in _cells(row)]


def _cells(row: Row) -> Sequence[Cell]:
    change, verdict = row.get("change"), row["verdict"]
    scale = Scale("metric", unit=row.get("metric_unit", "%"))
    before, after = row.get("before_metric"), row.get("after_metric")
    return (
        ", ".join(_variant(row)),
        milliseconds(row.get("before_ms")),
        milliseconds(row.get("after_ms")),
        NONE if change is None else f"{signed(100 * change)}\u00a0%",
        NONE if before is None and after is None else f"{_worth(scale, before)}\u00a0→\u00a0{_worth(scale, after)}",
        (verdict, _STYLES.get(verdict, "")),
    )


def _worth(scale: Scale, value: float | None) -> str:
    return NONE if value is None else scale.text(value)


def _variant(row: Row) -> Iterator[str]:
    yield row["label"]
    if row.get("batch", 1) > 1:
        yield f"batch {row['batch']}"
    if row.get("threads", 1) > 1:
        yield f"{row['threads']} threads"
    if row.get("scenario", "single-stream") != "single-stream":
        yield row["scenario"]
    if row.get("affinity"):
        yield f"cores {', '.join(map(str, row['affinity']))}"
    if row.get("machine"):
        yield row["machine"]


def _notes(row: Row) -> Iterator[str]:
    if row.get("reason"):
        yield f"{row['label']}: {row['reason']}"
    if row.get("outputs_db") is not None:
        yield f"{row['label']}: outputs are {row['outputs_db']:.1f}\u00a0dB from those before"
    if row.get("changed"):
        yield f"{row['label']}: {', '.join(row['changed'])} changed, too"
