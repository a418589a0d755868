"""The results as a table, and what they say of all networks together."""

from collections.abc import Iterator
from statistics import mean, stdev
from typing import Any

from rich.table import Table

SHIPPED = {"int8", "mixed", "fallback"}
INT8 = {"int8", "mixed"}


def cells_table(document: dict[str, Any]) -> Table:
    """A row per network, a column per runtime and peer: how it ended, and the task's agreement over the draws."""
    titles, cells = rows(document)
    shown = Table(*titles, box=None)
    for row in cells:
        shown.add_row(*row)
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
    return f"{states} {mean(scores):.3g}" if scores else states


def rows(document: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the same table."""
    networks = document["networks"].values()
    columns = list(dict.fromkeys(column for row in networks for column in _columns(row)))
    found = [
        [name, row["kind"], *(_summary(_columns(row).get(column, {})) for column in columns)]
        for name, row in document["networks"].items()
    ]
    return ["network", "kind", *columns], found
