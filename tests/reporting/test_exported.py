"""What the table of an export says of its bundle."""

import io
from typing import Any

import pytest
from rich.console import Console

from edgekd.reporting.exported import export_table

REPORT = {
    "target": "x86-openvino", "status": "ok", "bundle": "bundles/net", "bytes": 3_140_000, "notes": [],
    "db_from_float": 31.4, "outputs_db": {}, "parity": [], "layers_int8": [3, 3],
}  # fmt: skip


@pytest.mark.parametrize(
    ("speed", "words"),
    [
        (
            {"ours_ms": 1.0, "float_ms": 1.8, "pays": True},
            "int8 is 1.8 × as fast as float here: 1.00 ms beside 1.80 ms",
        ),
        ({"ours_ms": 1.8, "float_ms": 1.0, "pays": False}, "int8 is slower than float here: 1.80 ms beside 1.00 ms"),
        ({"ours_ms": 1.0, "float_ms": 1.05, "pays": None}, "int8 is as fast as float here: 1.00 ms beside 1.05 ms"),
        (
            {"ours_ms": 1.0, "float_ms": 1.8, "pays": None},
            "whether int8 is faster than float here is unclear: 1.00 ms beside 1.80 ms",
        ),
    ],
)
def test_the_table_says_whether_int8_pays(speed: dict[str, Any], words: str) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(export_table(REPORT | {"speed": speed}))
    assert words in console.export_text().replace("\N{NARROW NO-BREAK SPACE}", " ").replace("\N{NO-BREAK SPACE}", " ")


def test_every_note_of_each_of_several_targets_is_told() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    notes = ["made in the file", "of noise", "as a person would say"]
    console.print(export_table([REPORT | {"notes": notes}, REPORT | {"notes": notes[:1]}, REPORT]))
    told = console.export_text()
    assert [told.count(note) for note in notes] == [2, 1, 1]
