"""What `edgekd profile` found, for the terminal: the layer that takes longest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.reporting.layer_table import bar, decibels
from edgekd.reporting.layout import Cell, Grid, Section
from edgekd.reporting.sortable import Column, Filter, Order, Part, Table, largest_first, smallest_first, sortable
from edgekd.reporting.words import NONE, percent

Document = Mapping[str, Any]


def profile_view(found: Document | Sequence[Document]) -> Grid:
    """Return a row per layer, with a bar as long as its time, by device."""
    profiles = [found] if isinstance(found, Mapping) else found
    other = any(profile["other"] for profile in profiles)
    extra = ("there", "float here") if other else ()
    titles = ("layer", "time", "share", "", "lost", *extra, "kernel")
    return Grid(titles, [_section(profile, bool(other)) for profile in profiles], (1, 2, 4, 5))


def profile_parts(profiles: Sequence[Document]) -> list[Part]:
    """Return the same for a page, where it can be sorted and filtered."""
    return [
        Part(_head(profile), _table(f"profile-{number}", profile), tuple(_notes(profile)))
        for number, profile in enumerate(profiles)
    ]


def _table(name: str, profile: Document) -> Table:
    layers, other = profile["layers"], bool(profile["other"])
    places = {id(layer): place for place, layer in enumerate(layers)}
    lossy = any(layer["lost_db"] is not None for layer in layers)
    time: Order[Document] = largest_first("time", lambda row: row["us"], "time")
    loss: Order[Document] = largest_first("loss", lambda row: row["lost_db"], "lost")
    worth: Order[Document] = smallest_first(
        "worth of float", lambda row: places[id(row)], "float here", lambda row: row["lost_db"]
    )
    place: Order[Document] = smallest_first("place in the network", lambda row: row["place"], "", lambda row: row["us"])
    columns = [
        Column[Document]("layer", _name), Column[Document]("time", _took),
        Column[Document]("share", lambda row: percent(row["share"])),
        *([Column[Document]("lost", lambda row: decibels(row["lost_db"]))] if lossy else []),
        *([Column[Document]("there", lambda row: _exchange(row)[0])] if other else []),
        *([Column[Document]("float here", lambda row: _exchange(row)[1])] if other else []),
        Column[Document]("kernel", _kernel), Column[Document]("precision", _precision),
    ]  # fmt: skip
    orders = [*([worth] if other else []), time, *([loss] if lossy else []), place]
    filters = [Filter[Document]("precision", _precision), Filter[Document]("on", lambda row: row["placement"])]
    return sortable(name, layers, columns, orders, filters)


def _section(profile: Document, other: bool) -> Section:
    longest = max((layer["us"] for layer in profile["layers"]), default=0.0)
    return Section(_head(profile), [_cells(layer, longest, other) for layer in profile["layers"]], _notes(profile))


def _head(profile: Document) -> str:
    threads = f"{profile['threads']} thread{'s' if profile['threads'] > 1 else ''}"
    whole = f"{_time(profile['latency_us'])}, batch {profile['batch']}, {threads}"
    return f"{profile['model']} on {profile['device']} {whole}"


def _notes(profile: Document) -> list[str]:
    beside = (
        f"there: {profile['other']}, {_time(profile['other_us'])}; {profile['matched']}" if profile["other"] else None
    )
    return [*filter(None, (profile["source"], profile["warning"], beside))]


def _cells(layer: Document, longest: float, other: bool) -> Sequence[Cell]:
    return (
        _name(layer), _took(layer), percent(layer["share"]), bar(layer["us"], longest), decibels(layer["lost_db"]),
        *(_exchange(layer) if other else ()), _kernel(layer),
    )  # fmt: skip


def _name(layer: Document) -> str:
    return layer["layer"] or "(runtime)"


def _took(layer: Document) -> str:
    return "<\u00a01\u00a0µs" if layer["below"] else _time(layer["us"])


def _kernel(layer: Document) -> str:
    kernels = layer["kernels"]
    return kernels[0] if len(kernels) == 1 else f"{len(kernels)} kinds"


def _precision(layer: Document) -> str:
    return layer["precision"] or "not told"


def _exchange(layer: Document) -> tuple[str, str]:
    """What the layer takes in the other file, and what it would cost and win to have it so."""
    there = layer["other_us"]
    if there is None:
        return NONE, NONE
    costs, wins = there - layer["us"], layer["lost_db"] or 0.0
    price = f"costs {_time(costs)}" if costs > 0 else f"saves {_time(-costs)}"
    return _time(there), f"{price}, wins {wins:.1f}\u00a0dB" if wins > 0 else price


def _time(us: float) -> str:
    return f"{us / 1000:.3g}\u00a0ms" if us >= 1000 else f"{us:.3g}\u00a0µs"
