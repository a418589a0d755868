"""The report's tables as files: CSV with numbers in full, Markdown as one reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from edgekd.files import write_bytes
from edgekd.reporting import RUN, layers, parity, tables, teaching
from edgekd.reporting.markdown import csv_table, markdown_table
from edgekd.reporting.run_record import RunRecord, read_run

Cell = str | float | None
Rows = Sequence[Mapping[str, Cell]]


def write_tables(folder: Path, out: Path) -> list[Path]:
    """Write `NAME.csv` and `NAME.md` for each table of a finished run's report; BadInputError without one."""
    found = tables_of(read_run(folder / RUN))
    written = []
    for name, rows in found.items():
        for suffix, text in ((".csv", csv_table(rows)), (".md", _markdown(rows))):
            written.append(out / f"{name}{suffix}")
            write_bytes(written[-1], text.encode())
    return written


def tables_of(run: RunRecord) -> dict[str, Rows]:
    """The rows of each table that has any; nested values are left out."""
    found = {
        "networks": [_network(row) for row in teaching.models(run)],
        "targets": [asdict(row) for row in tables.target_rows(run)],
        "layers": [asdict(row) for row in layers.rows(run)],
        "parity": [{"target": row.target, **row.parity.model_dump(mode="json")} for row in parity.rows(run)],
    }
    return {name: [_flat(row) for row in rows] for name, rows in found.items() if rows}


def _network(row: teaching.ModelRow) -> dict[str, object]:
    """With a column for each of the task's other metrics, and one for its deviation."""
    others = {name: told.value for name, told in row.others.items()}
    return asdict(row) | others | {f"{name}_std": told.std for name, told in row.others.items()}


def _flat(row: Mapping[str, object]) -> dict[str, Cell]:
    return {key: value for key, value in row.items() if isinstance(value, str | int | float | None)}


def _markdown(rows: Rows) -> str:
    titles = list(dict.fromkeys(key for row in rows for key in row))
    return markdown_table(titles, ([_text(row.get(key)) for key in titles] for row in rows)) + "\n"


def _text(value: Cell) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
