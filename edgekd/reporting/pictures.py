"""Test images with what they show drawn in, as a run left them beside its record; the report holds them itself."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekd.reading import reading, require_file
from edgekd.reporting.run_record import RunRecord

FOLDER = "pictures"
WHO = ("truth", "teacher", "student", "int8")
LIMIT, SIGNATURE = 2**22, b"\x89PNG\r\n\x1a\n"  # bytes of one, and how it begins


def path_of(place: int, who: str) -> str:
    """Where a run folder has the picture of `who` in that place of the list."""
    return f"{FOLDER}/{place}-{who}.png"


@dataclass(frozen=True)
class Drawn:
    """A picture as data, and words for who does not see it."""

    who: str
    alt: str
    source: str


@dataclass(frozen=True)
class Row:
    """A sample's number, its metric, and the pictures that are there."""

    sample: int
    metric: float
    pictures: tuple[Drawn, ...]


def rows(run: RunRecord, folder: Path) -> list[Row]:
    """A row for each sample of which there is a picture."""
    found = [
        Row(entry.sample, entry.metric, tuple(_pictures(folder, place, entry.sample)))
        for place, entry in enumerate(run.pictures)
    ]
    return [row for row in found if row.pictures]


def _pictures(folder: Path, place: int, sample: int) -> Iterator[Drawn]:
    for who in WHO:
        path = folder / path_of(place, who)
        if path.exists():
            yield Drawn(who, f"sample {sample}, {who}", _source(path))


def _source(path: Path) -> str:
    with reading(path, "a PNG image"):
        content = require_file(path, LIMIT).read_bytes()
        if not content.startswith(SIGNATURE):
            raise ValueError("it begins otherwise")
    return f"data:image/png;base64,{b64encode(content).decode()}"
