"""Our calibrated model against each peer's: what the goals are, and which hold."""

from math import sqrt
from statistics import mean
from typing import Any

from rich.table import Table

from peers.contenders import OURS

SLOWER, ERRORS = 1.02, 2
Cell = dict[str, Any]


def verdicts(student: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By backend and peer: our drop less theirs in points, our size and p50 over theirs, and which goals hold."""
    return {backend: _verdicts(cells, student["tests"]) for backend, cells in student["backends"].items()}


def _verdicts(cells: dict[str, Cell], tests: int) -> dict[str, Any]:
    rivals = {name: cell for name, cell in cells.items() if name not in OURS and cell["draws"]}
    return {name: verdict(cells["edgekd"], cell, tests) for name, cell in rivals.items()}


def verdict(ours: Cell, theirs: Cell, tests: int) -> dict[str, Any]:
    """One peer. A drop is worse only beyond two standard errors, latency only if the intervals are disjoint."""
    draws = sorted(ours["draws"].keys() & theirs["draws"].keys())
    pairs = [(ours["draws"][draw], theirs["draws"][draw]) for draw in draws]
    more = mean(mine["drop"] - other["drop"] for mine, other in pairs)
    # Only samples whose answer changed can tell two drops apart: so many at most, each counting one way or the other.
    changed = sum(2 - mine["agreement"] - other["agreement"] for mine, other in pairs) * tests
    error = 100 * sqrt(changed) / tests / len(pairs)
    found: dict[str, Any] = {"drop": more, "error": error, "drop_holds": more <= ERRORS * error}
    sizes = [(mine["bytes"], other["bytes"]) for mine, other in pairs if "bytes" in mine]
    if sizes:
        found["size"] = mean(mine / other for mine, other in sizes)
        found["size_holds"] = found["size"] <= 1
    if "latency" in theirs and "latency" in ours:
        mine, other = ours["latency"], theirs["latency"]
        found["latency"] = mine["p50"] / other["p50"]
        found["latency_holds"] = found["latency"] <= SLOWER or mine["low"] <= other["high"]
    return found


def table(document: dict[str, Any]) -> Table:
    """A row per peer, a column per student: their drop and ours, our size and p50 over theirs."""
    students = document["students"].values()
    shown = Table("peer", *(student["title"] for student in students), box=None)
    rows = {
        (backend, name): None
        for student in students
        for backend, found in student["verdicts"].items()
        for name in found
    }
    for backend, name in rows:
        shown.add_row(f"{name}, {backend}", *(_words(student, backend, name) for student in students))
    return shown


def _words(student: dict[str, Any], backend: str, name: str) -> str:
    found = student["verdicts"].get(backend, {}).get(name)
    if found is None:
        return "–"
    cells = student["backends"][backend]
    drops = f"{cells['edgekd']['drop']['mean']:+.2f} / {cells[name]['drop']['mean']:+.2f}"
    ratios = [f"{found[key]:.2f} ×" for key in ("size", "latency") if key in found]
    missed = [key.removesuffix("_holds") for key, holds in found.items() if holds is False]
    return ", ".join([drops, *ratios]) + (f" (missed: {', '.join(missed)})" if missed else "")
