"""Tables as Markdown and as CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekd.screen import visible


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as GitHub and model hubs read it."""
    cells = [titles, ("---",) * len(titles), *rows]
    return "\n".join("| " + " | ".join(visible(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)


def csv_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV (RFC 4180), a column for each key, numbers in full."""
    titles = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, titles, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
