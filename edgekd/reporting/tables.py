"""A run as plain rows (for `--json` and the HTML report) and as rich tables (for the terminal)."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgekd.reporting.conditions import of_target
from edgekd.reporting.layout import Beside, Cell, Facts, Grid, Section
from edgekd.reporting.run_record import RunRecord, TargetRecord, Variant
from edgekd.reporting.teaching import deviation, facts, models, other_metric
from edgekd.reporting.words import (
    NONE,
    count,
    latency,
    mean,
    metric_name,
    milliseconds,
    scale_of,
    size,
    spoken_metric,
    state,
    worth,
)
from edgekd.screen import Screen

_STYLES = {
    "ok": "green", "fallback": "bold yellow", "not proven": "yellow", "not executed": "dim", "failed": "bold red",
}  # fmt: skip
_MOST_COLUMNS, _MOST_IN_A_WORD, _MOST_ROWS = 10, 40, 1000
_SPACE = "\u00a0"  # where no line ends
_SHAPE = re.compile(r"\([\dA-Z][\dA-Z, +]*\)")  # such as (N, C + 4, H, W)
_PAYS = {True: "yes", False: "no", None: "unknown"}


@dataclass(frozen=True)
class TargetRow:
    """A variant on its target, or a target without any; latencies are in ms, `speedup` is int8's over `against`."""

    target: str
    backend: str
    device: str | None
    conditions: tuple[str, ...]
    status: str
    state: str
    reason: str | None
    best: str | None
    advice: str | None
    metric: float | None
    metric_source: str | None
    int8_pays: bool | None
    speedup: float | None
    against: str | None
    int8_kernels: int | None = None
    kernels: int | None = None
    variant: str | None = None
    bytes: int | None = None
    variant_metric: float | None = None
    p50: float | None = None
    low: float | None = None
    high: float | None = None
    p90: float | None = None
    p99: float | None = None
    n: int | None = None
    replicates: int | None = None


def target_rows(run: RunRecord) -> list[TargetRow]:
    """One row per target and variant; a target without variants has one row."""
    return [
        _row(name, target, variant, row)
        for name, target in run.targets.items()
        for variant, row in (target.variants.items() or [(None, Variant())])
    ]


def summary(run: RunRecord) -> Group:
    """What a run found, for the terminal."""
    return Group(learned(run), *(("", targets_table(run)) if run.targets else ()))


def learned(run: RunRecord) -> Group:
    """What was taught and what it bought, for the terminal."""
    pairs = [
        (fact.label, Text.assemble(fact.value, (f"  {fact.note}" if fact.note else "", "dim"))) for fact in facts(run)
    ]
    return Group(learn_table(run), "", Facts(pairs))


def text(renderable: RenderableType, width: int = 100) -> str:
    """Anything for the terminal as plain text."""
    console = Screen(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable, crop=False)
    return capture.get().rstrip()


def plain(document: Any) -> RenderableType:
    """Rows as a table, a single document as its keys and values; lists of rows within it become tables below."""
    if isinstance(document, list):
        return rows_table(document)
    nested = {key: value for key, value in _lists(document) if value}
    pairs = Facts([(_spoken(key), _cell(value)) for key, value in document.items() if key not in nested])
    below: list[RenderableType] = []
    for key, value in nested.items():
        below += [Text(_spoken(key), "dim"), _below(value)]
    return Group(pairs, *below)


def _below(rows: list[Any]) -> RenderableType:
    """Rows as a table, words on one line, sentences on lines of their own."""
    if isinstance(rows[0], dict):
        return rows_table(rows)
    words = list(map(str, rows))
    sentences = any(" " in word or len(word) > _MOST_IN_A_WORD for word in words)
    return Facts([("", word) for word in (words if sentences else [", ".join(words)])])


def _lists(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Those of a document and of the documents directly within it."""
    for key, value in document.items():
        if isinstance(value, list):
            yield key, value
        elif isinstance(value, dict):
            yield from ((f"{key}.{inner}", rows) for inner, rows in value.items() if isinstance(rows, list))


def learn_table(run: RunRecord) -> Grid:
    """What each model is worth, for the terminal; ÷ says how many times smaller than the teacher."""
    others = run.other_scales
    titles = ("model", metric_name(run), "parameters", "MACs", *(spoken_metric(scale.name) for scale in others))
    rows = [
        (
            row.name,
            worth(run, row.metric) + deviation(row.std, scale_of(run)),
            _counted(row.parameters, row.parameters_ratio),
            _counted(row.macs, row.macs_ratio),
            *(other_metric(row, scale) for scale in others),
        )
        for row in models(run)
    ]
    return Grid.of(titles, rows, right=range(1, len(titles)))


def targets_table(run: RunRecord) -> Grid:
    """What it costs on each target, for the terminal: a target's line, its variants, why it failed or what to ship."""
    sections = [_section(run, list(rows)) for _, rows in groupby(target_rows(run), key=lambda row: row.target)]
    return Grid(("variant", metric_name(run), "size", "median latency", ""), sections, right=(1, 2, 3))


def _section(run: RunRecord, rows: Sequence[TargetRow]) -> Section:
    row = rows[0]
    told = []
    if row.speedup:
        sure = "" if row.int8_pays is not None else "perhaps "
        told.append(f"int8 {sure}{row.speedup:.2f}× as fast as {row.against}")
    if row.kernels:
        told.append(f"{kernels(row).replace(' of ', '/')} kernels in int8")
    head = Text.assemble((row.target, "bold"), "  ", (row.state, _STYLES.get(row.state, "")))
    head.append("".join(f" · {words}".replace(" ", _SPACE).replace(_SPACE, " ", 1) for words in told))
    notes = [Text(words, "dim") for words in (row.reason, row.advice) if words]
    return Section(head, [_cells(run, row, row.variant) for row in rows if row.variant], notes)


def kernels(row: TargetRow) -> str:
    """How many of the executed kernels compute in int8."""
    if row.int8_kernels is None or not row.kernels:
        return NONE
    return f"{row.int8_kernels} of {row.kernels}"


def pays(row: TargetRow) -> str:
    """Whether int8 is faster here: yes, no or unknown, and by which factor."""
    answer = _PAYS[row.int8_pays]
    return answer if row.speedup is None else f"{answer}, {row.speedup:.2f}× {row.against}"


def _counted(number: int | None, ratio: float | None) -> str:
    return count(number) + (f" ÷ {ratio:.1f}" if ratio else "")


def _row(name: str, target: TargetRecord, label: str | None, variant: Variant) -> TargetRow:
    speedup, against = _speedup(target)
    row = TargetRow(
        target=name, backend=target.backend, device=target.device, conditions=tuple(of_target(target)),
        status=target.status, state=state(target), reason=target.reason, best=target.best, advice=target.advice,
        metric=mean(target.metric), metric_source=target.metric_source, int8_pays=target.int8_pays, speedup=speedup,
        against=against, variant=label, bytes=variant.bytes, variant_metric=mean(variant.metric),
    )  # fmt: skip
    if target.kernels:
        row = replace(row, int8_kernels=target.kernels.int8, kernels=target.kernels.total)
    time = latency(variant)
    if time is None:
        return row
    told = {key: getattr(time, key) for key in ("p50", "low", "high", "p90", "p99", "n", "replicates")}
    return replace(row, **told)


def _speedup(target: TargetRecord) -> tuple[float | None, str | None]:
    """How many times faster int8 is than the fastest other variant, and which that is."""
    timed = {name: time.p50 for name, row in target.variants.items() if (time := latency(row))}
    int8 = timed.pop("int8", None)
    if int8 is None or not timed:
        return None, None
    against = min(timed, key=lambda name: timed[name])
    return timed[against] / int8, against


def _cells(run: RunRecord, row: TargetRow, variant: str) -> tuple[Cell, ...]:
    metric = row.metric if row.variant_metric is None else row.variant_metric
    shipped = variant == row.best
    measured = (worth(run, metric), size(row.bytes), milliseconds(row.p50))
    return (Text(variant, "bold" if shipped else ""), *measured, "ship this" if shipped else "")


def rows_table(rows: Sequence[Mapping[str, Any]]) -> Grid | Beside:
    """Return a line per row, or a column per row where there are many keys; keys without a value are left out.

    Of more than 1000 rows it holds the first, and says so.
    """
    keys = list(dict.fromkeys(key for row in rows for key, value in row.items() if value not in (None, "", [])))
    if len(keys) > _MOST_COLUMNS > len(rows):
        return Beside([[(_spoken(key), _cell(row.get(key))) for key in keys] for row in rows])
    numeric = [
        number for number, key in enumerate(keys) if all(isinstance(row.get(key), int | float | None) for row in rows)
    ]
    cells = [[_cell(row.get(key)) for key in keys] for row in rows[:_MOST_ROWS]]
    more = len(rows) - _MOST_ROWS
    caption = f"and {more} more rows, all in --json" if more > 0 else ""
    return Grid(list(map(_spoken, keys)), [Section(None, cells)], numeric, caption)


def _spoken(key: str) -> str:
    return key.replace("_", " ")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or NONE
    if isinstance(value, dict):
        told = {key: inner for key, inner in value.items() if not (inner in (None, "") or isinstance(inner, list))}
        return ", ".join(f"{key}{_SPACE}{_cell(inner)}" for key, inner in told.items()) or NONE
    return NONE if value is None else _SHAPE.sub(lambda shape: shape[0].replace(" ", _SPACE), str(value))
