"""What a compiler for an NPU tells, for the terminal: where all is and, if it knows, which layer takes most cycles."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.reporting.layout import Cell, Grid, Section
from edgekd.reporting.words import percent, size

BAR = 8  # characters of the longest layer's
Document = Mapping[str, Any]


def estimate_view(found: Document) -> Grid:
    """Return a row per operator: what it takes and where it is, or where alone if its compiler has no model of time."""
    return _places(found) if found["clock_hz"] is None else _cycles(found)


def _places(found: Document) -> Grid:
    islands, left = found["islands"], sum(op["unit"] == "CPU" for op in found["ops"])
    parts = f"in {islands} part{'s' if islands != 1 else ''}" + (f", {left} on the CPU" if left else "")
    head = f"{found['bundle']} on {found['accelerator']} {parts} by {found['source']}, not measured"
    rows = [(op["layer"], op["op"], _place(op)) for op in found["ops"]]
    return Grid(("layer", "operator", "on"), [Section(head, rows, [])], ())


def _place(op: Document) -> str:
    where = op["unit"] if op["precision"] is None else f"{op['unit']}, {op['precision']}"
    return f"{where}: {op['reason']}" if op["reason"] else where


def _cycles(found: Document) -> Grid:
    """With a bar as long as an operator's cycles; those on the CPU have none, but a reason."""
    ops = sorted(found["ops"], key=lambda op: -op["cycles"])
    longest = max((op["cycles"] for op in ops), default=0) or 1
    whole = sum(op["cycles"] for op in ops) or 1
    head = f"{found['bundle']} on {found['accelerator']}: {found['cycles']:,} cycles by {found['source']}, not measured"
    titles = ("layer", "cycles", "share", "", "SRAM", "operator", "on")
    return Grid(titles, [Section(head, [_cells(op, longest, whole) for op in ops], _notes(found))], (1, 2, 4))


def _notes(found: Document) -> list[str]:
    left = sum(op["unit"] == "CPU" for op in found["ops"])
    excluded = [f"the estimate excludes {left} operator{'s' if left > 1 else ''} on the CPU"] if left else []
    clock = f"a clock of {found['clock_hz'] / 1e6:.0f} MHz, {', '.join(found['options'].values())}"
    kinds = {"SRAM": "sram_bytes", "DRAM": "dram_bytes", "flash": "flash_bytes"}
    memory = ", ".join(f"{kind} {size(found[key])}" for kind, key in kinds.items() if found[key])
    return [f"{clock}; {memory}", *excluded]


def _cells(op: Document, longest: int, whole: int) -> Sequence[Cell]:
    if op["unit"] == "CPU":
        return op["layer"], "–", "–", "", "–", op["op"], f"CPU: {op['reason']}" if op["reason"] else "CPU"
    bar = "█" * round(BAR * op["cycles"] / longest)
    share = percent(op["cycles"] / whole)
    return op["layer"], f"{op['cycles']:,}", share, bar, size(op["sram_bytes"]), op["op"], "NPU"
