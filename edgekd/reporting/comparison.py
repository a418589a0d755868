"""What `edgekd compare` found, for the terminal."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table

from edgekd.reporting.tables import rows_table


def compare_table(rows: Iterable[dict[str, Any]]) -> Table:
    """Return rows of `compare_files`, those that did not stay the same first."""
    return rows_table(sorted(rows, key=lambda row: bool(row["verdict"] == "same")))
