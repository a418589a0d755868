"""The results as a table, and what they say of all networks together."""

from collections.abc import Iterator
from statistics import mean, stdev
from typing import Any

from rich.table import Table

SHIPPED = {"int8", "mixed", "fallback"}
INT8 = {"int8", "mixed"}
ABOUT = """# Published networks

`make foreign` (`benchmarks/foreign/networks.toml` is the list, fixed before the first was tried). A cell says how an
export ended and its task's agreement with the float file, the mean over the draws of calibration samples: a share
(boxes by F1, text, classes, intersection over union of masks) or decibels. Peers run on the file itself.
"""


def cells_table(document: dict[str, Any]) -> Table:
    """A row per network, a column per runtime and peer: how it ended, and the task's agreement over the draws."""
    rows = document["networks"].values()
    columns = list(dict.fromkeys(column for row in rows for column in _columns(row)))
    shown = Table("network", "kind", *columns, box=None)
    for name, row in document["networks"].items():
        cells = _columns(row)
        shown.add_row(name, row["kind"], *(_summary(cells.get(column, {})) for column in columns))
    return shown


def verdicts(document: dict[str, Any]) -> dict[str, Any]:
    """Shares of cells that ship, that are int8 or mixed, and the cells whose task a peer does better."""
    cells = [cell for row in document["networks"].values() for draws in row["ours"].values() for cell in draws.values()]
    count = max(1, len(cells))
    return {
        "cells": len(cells),
        "shipped": round(sum(cell["status"] in SHIPPED for cell in cells) / count, 3),
        "int8": round(sum(cell["status"] in INT8 for cell in cells) / count, 3),
        "crashed": [cell.get("reason") for cell in cells if cell["status"] == "crashed"],
        "bundles_left": sum(bool(cell.get("left")) for cell in cells),
        "below_peer": sorted(_below(document)),
    }


def _columns(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"edgekd {name}": draws for name, draws in row["ours"].items()} | row["peers"]


def _below(document: dict[str, Any]) -> Iterator[str]:
    """Cells whose mean is below the better peer's by more than the larger of the two standard deviations."""
    for name, row in document["networks"].items():
        peers = {peer: found for peer, draws in row["peers"].items() if (found := _scores(draws))}
        if not peers:
            continue
        best = max(peers, key=lambda peer: mean(peers[peer]))
        for runtime, draws in row["ours"].items():
            mine = _scores(draws)
            if not mine or mean(mine) < mean(peers[best]) - max(_spread(mine), _spread(peers[best])):
                own = f"{mean(mine):.3f}" if mine else "nothing"
                yield f"{name} {runtime}: {own}, {best} {mean(peers[best]):.3f}"


def _scores(draws: dict[str, Any]) -> list[float]:
    return [next(iter(cell["task"].values())) for cell in draws.values() if "task" in cell]


def _spread(scores: list[float]) -> float:
    return stdev(scores) if len(scores) > 1 else 0.0


def _summary(draws: dict[str, Any]) -> str:
    if not draws:
        return "–"
    states = "/".join(dict.fromkeys(cell["status"] for cell in draws.values()))
    scores = _scores(draws)
    return f"{states} {mean(scores):.3f}" if scores else states


def markdown(document: dict[str, Any]) -> str:
    """The same for the documentation, with what was learnt of all cells."""
    rows = document["networks"]
    columns = list(dict.fromkeys(column for row in rows.values() for column in _columns(row)))
    lines = [ABOUT, " | ".join(["| network", "judged by", *columns]) + " |", "|---" * (len(columns) + 2) + "|"]
    for name, row in rows.items():
        cells = _columns(row)
        summaries = [_summary(cells.get(column, {})) for column in columns]
        lines.append(" | ".join([f"| {name}", row["comparator"], *summaries]) + " |")
    found = document["verdicts"]
    lines += [
        "",
        f"{found['cells']} cells: {found['shipped']:.0%} ship something proven, {found['int8']:.0%} int8 or mixed;",
    ]
    lines += [
        f"{len(found['crashed'])} crashed, {found['bundles_left']} left a bundle that failed. Below the better peer:",
        "",
    ]
    return "\n".join(lines + [f"- {each}" for each in found["below_peer"]] + [""])
