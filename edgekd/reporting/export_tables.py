"""The report's tables as files: CSV with numbers in full, Markdown as one reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekd.files import write_bytes
from edgekd.reporting import RUN, layers, parity, tables, teaching
from edgekd.reporting.markdown import csv_table, markdown_table
from edgekd.reporting.run_record import read_run
from edgekd.reporting.words import Run

Rows = Sequence[Mapping[str, Any]]


def write_tables(folder: Path, out: Path) -> list[Path]:
    """Write `NAME.csv` and `NAME.md` for each table of a finished run's report; BadInputError without one."""
    found = tables_of(read_run(folder / RUN).document())
    written = []
    for name, rows in found.items():
        for suffix, text in ((".csv", csv_table(rows)), (".md", _markdown(rows))):
            written.append(out / f"{name}{suffix}")
            write_bytes(written[-1], text.encode())
    return written


def tables_of(run: Run) -> dict[str, Rows]:
    """The rows of each table that has any; nested values are left out."""
    found = {
        "networks": teaching.models(run), "targets": tables.target_rows(run), "layers": layers.rows(run),
        "parity": parity.rows(run),
    }  # fmt: skip
    return {name: [_flat(row) for row in rows] for name, rows in found.items() if rows}


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not isinstance(value, dict | list | tuple)}


def _markdown(rows: Rows) -> str:
    titles = list(dict.fromkeys(key for row in rows for key in row))
    return markdown_table(titles, ([_text(row.get(key)) for key in titles] for row in rows)) + "\n"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
