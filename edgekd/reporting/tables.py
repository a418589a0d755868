"""A run as plain rows (for `--json` and the HTML report) and as rich tables (for the terminal)."""

import io
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgekd.reporting.conditions import of_target
from edgekd.reporting.teaching import deviation, facts, models
from edgekd.reporting.words import (
    NONE,
    Run,
    count,
    latency,
    mean,
    metric_name,
    milliseconds,
    percent,
    size,
    state,
    three_digits,
)
from edgekd.screen import Screen

_LATENCY = ("p50", "low", "high", "p90", "p99", "n")
_STYLES = {
    "ok": "green", "fallback": "bold yellow", "not proven": "yellow", "not executed": "dim", "failed": "bold red",
}  # fmt: skip
_MOST_COLUMNS, _MOST_IN_A_WORD, _MOST_ROWS = 10, 40, 1000
_LONGEST_NAME = 32  # kept on one line, to be copied
_PAYS = {True: "yes", False: "no", None: "unknown"}


def target_rows(run: Run) -> list[dict[str, Any]]:
    """One row per target and variant; a target without variants has one row."""
    return [
        _target(name, target) | _variant(variant, row)
        for name, target in (run.get("targets") or {}).items()
        for variant, row in (target.get("variants") or {None: {}}).items()
    ]


def summary(run: Run) -> Group:
    """What a run found, for the terminal."""
    return Group(learned(run), *(("", targets_table(run), "", reasons(run)) if run.get("targets") else ()))


def learned(run: Run) -> Group:
    """What was taught and what it bought, for the terminal."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for fact in facts(run):
        table.add_row(
            Text(fact.label, "dim"), Text.assemble(fact.value, (f"  {fact.note}" if fact.note else "", "dim"))
        )
    return Group(learn_table(run), "", table)


def text(renderable: RenderableType, width: int = 100) -> str:
    """Anything for the terminal as plain text."""
    console = Screen(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().rstrip()


def plain(document: Any) -> RenderableType:
    """Rows as a table, a single document as its keys and values; lists of rows within it become tables below."""
    if isinstance(document, list):
        return rows_table(document)
    nested = {key: value for key, value in _lists(document) if value}
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in document.items():
        if key not in nested:
            table.add_row(Text(key, "dim"), Text(_cell(value)))
    tables = [rows_table(value) for value in nested.values() if isinstance(value[0], dict)]
    lines = [_listing(key, list(map(str, v))) for key, v in nested.items() if not isinstance(v[0], dict)]
    return Group(table, *lines, *tables)


def _lists(document: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Those of a document and of the documents directly within it."""
    for key, value in document.items():
        if isinstance(value, list):
            yield key, value
        elif isinstance(value, dict):
            yield from ((f"{key}.{inner}", rows) for inner, rows in value.items() if isinstance(rows, list))


def _listing(key: str, words: list[str]) -> Text:
    """Words on one line, sentences on lines of their own."""
    sentences = any(" " in word or len(word) > _MOST_IN_A_WORD for word in words)
    return Text(f"{key}:" + "".join(f"\n  {word}" for word in words) if sentences else f"{key}: {', '.join(words)}")


def learn_table(run: Run) -> Table:
    """What each model is worth, for the terminal; ÷ says how many times smaller than the teacher."""
    table, rows = _table("", metric_name(run), "parameters", "MACs", "calibration error"), models(run)
    for row in rows:
        metric = percent(row["metric"]) + deviation(row["std"])
        error = percent(row["calibration_error"]) + deviation(row["calibration_error_std"])
        table.add_row(Text(row["name"]), metric, _counted(row, "parameters"), _counted(row, "macs"), error)
    return table


def targets_table(run: Run) -> Table:
    """What it costs on each target, for the terminal."""
    table = _table("target", "status", "variant", metric_name(run), "size", "p50", "int8 pays", "in int8")
    before = None
    for row in target_rows(run):
        first = row["target"] != before
        before = row["target"]
        name, told = (row["target"], row["state"]) if first else ("", "")
        table.add_row(Text(name), Text(told, _STYLES.get(told, "")), *_cells(row, first))
    return table


def reasons(run: Run) -> Text:
    """Why a target was not executed, what did not hold, and which variant to ship; a line each."""
    targets, keys = (run.get("targets") or {}).items(), ("reason", "advice")
    lines = [f"{name}: {target[key]}" for name, target in targets for key in keys if target.get(key)]
    return Text("\n".join(lines), "dim")


def interval(row: dict[str, Any]) -> str:
    """Low–high in milliseconds."""
    if row["low"] is None or row["high"] is None:
        return NONE
    return f"{three_digits(row['low'])}–{milliseconds(row['high'])}"


def kernels(row: dict[str, Any]) -> str:
    """How many of the executed kernels compute in int8."""
    if row["int8_kernels"] is None or not row["kernels"]:
        return NONE
    return f"{row['int8_kernels']} of {row['kernels']}"


def pays(row: dict[str, Any]) -> str:
    """Whether int8 is faster here: yes, no or unknown, and by which factor."""
    answer = _PAYS[row["int8_pays"]]
    return answer if row["speedup"] is None else f"{answer}, {row['speedup']:.2f}× {row['against']}"


def _counted(row: dict[str, Any], key: str) -> str:
    ratio = row[f"{key}_ratio"]
    return count(row[key]) + (f" ÷ {ratio:.1f}" if ratio else "")


def _target(name: str, target: Run) -> dict[str, Any]:
    operator_coverage = target.get("kernels") or {}
    return {
        "target": name,
        "backend": target.get("backend"),
        "device": target.get("device"),
        "conditions": of_target(target),
        "status": target.get("status", "unverified"),
        "state": state(target),
        "reason": target.get("reason"),
        "best": target.get("best"),
        "advice": target.get("advice"),
        "metric": mean(target.get("metric")),
        "metric_source": target.get("metric_source"),
        "int8_pays": target.get("int8_pays"),
        **_speedup(target.get("variants") or {}),
        "int8_kernels": operator_coverage.get("int8"),
        "kernels": operator_coverage.get("total"),
    }


def _speedup(variants: Run) -> dict[str, Any]:
    """How many times faster int8 is than the fastest other variant."""
    p50 = {name: latency(row).get("p50") for name, row in variants.items()}
    timed = {name: time for name, time in p50.items() if time}
    int8 = timed.pop("int8", None)
    if int8 is None or not timed:
        return {"speedup": None, "against": None}
    against = min(timed, key=lambda name: timed[name])
    return {"speedup": timed[against] / int8, "against": against}


def _variant(name: str | None, row: Run) -> dict[str, Any]:
    found = latency(row)
    return {
        "variant": name,
        "bytes": row.get("bytes"),
        "variant_metric": mean(row.get("metric")),
        **{key: found.get(key) for key in _LATENCY},
    }


def _cells(row: dict[str, Any], first: bool) -> tuple[Text | str, ...]:
    metric = row["metric"] if row["variant_metric"] is None else row["variant_metric"]
    measured = (percent(metric), size(row["bytes"]), milliseconds(row["p50"]))
    verdict = (pays(row).rpartition(" ")[0] if row["speedup"] else pays(row), kernels(row).replace(" of ", "/"))
    shipped = "bold" if row["variant"] and row["variant"] == row["best"] else ""
    return (Text(row["variant"] or NONE, shipped), *measured, *(verdict if first else ("", "")))


def rows_table(rows: list[dict[str, Any]]) -> Table:
    """Return a line per row, or a column per row where a line cannot hold all keys; keys without a value are left out.

    Of more than 1000 rows it holds the first, and says so.
    """
    keys = list(dict.fromkeys(key for row in rows for key, value in row.items() if value not in (None, "", [])))
    across = len(keys) > _MOST_COLUMNS > len(rows)
    more = len(rows) - _MOST_ROWS
    table = Table(box=None, pad_edge=False, header_style="dim", show_header=not across, caption_justify="left")
    table.caption = f"and {more} more rows, all in --json" if more > 0 else None
    if across:
        table.add_column(style="dim")
        for _ in rows:
            table.add_column(overflow="fold")
        for key in keys:
            table.add_row(_spoken(key), *(Text(_cell(row.get(key))) for row in rows))
        return table
    for key in keys:
        numeric = all(isinstance(row.get(key), int | float | None) for row in rows)
        name = key == keys[0] and all(len(_cell(row.get(key))) <= _LONGEST_NAME for row in rows)
        table.add_column(_spoken(key), justify="right" if numeric else "left", overflow="fold", no_wrap=name)
    for row in rows[:_MOST_ROWS]:
        table.add_row(*(Text(_cell(row.get(key))) for key in keys))
    return table


def _spoken(key: str) -> Text:
    return Text(key.replace("_", " "))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or NONE
    if isinstance(value, dict):
        told = {key: inner for key, inner in value.items() if not (inner is None or isinstance(inner, list))}
        return ", ".join(f"{key} {_cell(inner)}" for key, inner in told.items()) or NONE
    return NONE if value is None else str(value)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    for number, column in enumerate(columns):
        left = number == 0 or column in ("status", "variant")
        # where it is narrow, a name is broken and no number
        table.add_column(
            Text(column),
            justify="left" if left else "right",
            no_wrap=number > 0,
            overflow="fold",
            min_width=8 if number == 0 else None,
        )
    return table
