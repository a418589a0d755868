"""What `edgekd profile` found, for the terminal: the layer that takes longest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.reporting.layer_table import bar, decibels
from edgekd.reporting.layout import Cell, Grid, Section
from edgekd.reporting.words import NONE, percent

Document = Mapping[str, Any]


def profile_view(found: Document | Sequence[Document]) -> Grid:
    """Return a row per layer, with a bar as long as its time, by device."""
    profiles = [found] if isinstance(found, Mapping) else found
    other = any(profile["other"] for profile in profiles)
    extra = ("there", "float here") if other else ()
    titles = ("layer", "time", "share", "", "lost", *extra, "kernel")
    return Grid(titles, [_section(profile, bool(other)) for profile in profiles], (1, 2, 4, 5))


def _section(profile: Document, other: bool) -> Section:
    threads = f"{profile['threads']} thread{'s' if profile['threads'] > 1 else ''}"
    whole = f"{_time(profile['latency_us'])}, batch {profile['batch']}, {threads}"
    head = f"{profile['model']} on {profile['device']} {whole}"
    longest = max((layer["us"] for layer in profile["layers"]), default=0.0)
    rows = [_cells(layer, longest, other) for layer in profile["layers"]]
    beside = f"there: {profile['other']}, {_time(profile['other_us'])}" if profile["other"] else None
    return Section(head, rows, [*filter(None, (profile["source"], profile["warning"], beside))])


def _cells(layer: Document, longest: float, other: bool) -> Sequence[Cell]:
    kernels = layer["kernels"]
    return (
        layer["layer"] or "(runtime)",
        "<\u00a01\u00a0µs" if layer["below"] else _time(layer["us"]),
        percent(layer["share"]),
        bar(layer["us"], longest),
        decibels(layer["lost_db"]),
        *(_exchange(layer) if other else ()),
        kernels[0] if len(kernels) == 1 else f"{len(kernels)} kinds",
    )


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
