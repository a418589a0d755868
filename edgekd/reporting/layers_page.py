"""The layers of a network as one HTML page: its graph, coloured by error and precision, and the table below it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.files import write_bytes
from edgekd.reporting.exported import REFUSED
from edgekd.reporting.html import template
from edgekd.reporting.sortable import Part
from edgekd.screen import visible_document

WIDE, HIGH, APART = 250, 26, 14  # a box and the room between two, pixels
LETTERS = 34  # that a box has room for
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Box:
    """One layer: where it is drawn, what it says, and how much of the worst loss is its own, 0 to 1."""

    x: int
    y: int
    text: str
    about: str
    precision: str
    share: float


@dataclass(frozen=True)
class Drawing:
    """A graph from top to bottom; a line is (x, y) of its start and its end."""

    target: str
    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[tuple[int, int, int, int], ...]


def write_layers_page(path: Path, title: str, parts: Sequence[Part], reports: Sequence[Document] = ()) -> None:
    """Write a page of tables of layers, and of the graph of each report that has one; refused ones say why."""
    shown = [visible_document(report) for report in reports]
    drawings = [drawn(each["target"], each["graph"], each["layers"]) for each in shown if each.get("graph")]
    refused = [each for each in shown if each.get("status") in REFUSED]
    page = template("layers.html.j2").render(
        title=title, parts=parts, drawings=drawings, refused=refused, wide=WIDE, high=HIGH
    )
    write_bytes(path, page.encode())


def drawn(target: str, nodes: Sequence[Document], layers: Sequence[Document]) -> Drawing:
    """Lay a graph out: a node stands below all that it reads, and below the first of them where there is room."""
    losses = {(layer["layer"], layer["kind"]): layer for layer in reversed(layers)}  # the worst of a name
    most = max((layer["lost_db"] for layer in layers), default=0.0) or 1.0
    places: dict[str, tuple[int, int]] = {}
    taken: set[tuple[int, int]] = set()
    boxes, lines = [], []
    for node in nodes:
        above = [places[each] for each in node["reads"] if each in places]
        row, column = max((place[0] for place in above), default=-1) + 1, above[0][1] if above else 0
        while (row, column) in taken:
            column += 1
        places[node["id"]] = (row, column)
        taken.add((row, column))
        x, y = _corner(row, column)
        loss = losses.get((node["layer"], node["kind"]))
        share = max(loss["lost_db"], 0.0) / most if loss else 0.0
        boxes.append(Box(x, y, _short(node), _about(node, loss), node["precision"], round(share, 2)))
        lines += [(px + WIDE // 2, py + HIGH, x + WIDE // 2, y) for px, py in (_corner(*place) for place in above)]
    width, height = (max((place[axis] for place in places.values()), default=0) + 1 for axis in (1, 0))
    return Drawing(target, *_corner(height, width)[:2], tuple(boxes), tuple(lines))


def _corner(row: int, column: int) -> tuple[int, int]:
    return column * (WIDE + APART) + APART, row * (HIGH + APART) + APART


def _short(node: Document) -> str:
    room = LETTERS - len(node["kind"]) - 1
    name = node["layer"] or node["id"]
    return f"{node['kind']} {name if len(name) <= room else '…' + name[1 - room :]}"


def _about(node: Document, loss: Document | None) -> str:
    lost = f", {loss['sqnr_db']:.1f} dB from float, {loss['lost_db']:.1f} dB of it lost here" if loss else ""
    why = f": {node['why']}" if node["why"] else ""
    return f"{node['kind']} {node['layer'] or node['id']} in {node['precision']}{why}{lost}"
