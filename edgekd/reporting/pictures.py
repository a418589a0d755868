"""Test images with what they show drawn in, as a run left them beside its record; the report holds them itself."""

from base64 import b64encode
from pathlib import Path
from typing import Any

from edgekd.reading import reading, require_file
from edgekd.reporting.words import Run

FOLDER = "pictures"
WHO = ("truth", "teacher", "student", "int8")
LIMIT, SIGNATURE = 2**22, b"\x89PNG\r\n\x1a\n"  # bytes of one, and how it begins


def path_of(place: int, who: str) -> str:
    """Where a run folder has the picture of `who` in that place of the list."""
    return f"{FOLDER}/{place}-{who}.png"


def rows(run: Run, folder: Path) -> list[dict[str, Any]]:
    """A row for each sample: its number, its metric, and the pictures that are there, as data."""
    found = [
        {"sample": entry["sample"], "metric": entry["metric"], "pictures": _pictures(folder, place, entry["sample"])}
        for place, entry in enumerate(run.get("pictures") or ())
    ]
    return [row for row in found if row["pictures"]]


def _pictures(folder: Path, place: int, sample: int) -> list[dict[str, str]]:
    paths = {who: folder / path_of(place, who) for who in WHO}
    return [
        {"who": who, "alt": f"sample {sample}, {who}", "source": _source(path)}
        for who, path in paths.items()
        if path.exists()
    ]


def _source(path: Path) -> str:
    with reading(path, "a PNG image"):
        content = require_file(path, LIMIT).read_bytes()
        if not content.startswith(SIGNATURE):
            raise ValueError("it begins otherwise")
    return f"data:image/png;base64,{b64encode(content).decode()}"
