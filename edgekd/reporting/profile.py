"""What `edgekd profile` found, for the terminal: the layer that takes longest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekd.reporting.layout import Cell, Grid, Section
from edgekd.reporting.words import percent

BAR = 8  # characters of the longest layer's
Document = Mapping[str, Any]


def profile_view(found: Document | Sequence[Document]) -> Grid:
    """Return a row per layer, with a bar as long as its time, by device."""
    profiles = [found] if isinstance(found, Mapping) else found
    titles = ("layer", "time", "share", "", "kernel")
    return Grid(titles, [_section(profile) for profile in profiles], (1, 2))


def _section(profile: Document) -> Section:
    threads = f"{profile['threads']} thread{'s' if profile['threads'] > 1 else ''}"
    whole = f"{_time(profile['latency_us'])}, batch {profile['batch']}, {threads}"
    head = f"{profile['model']} on {profile['device']} {whole}"
    longest = max((layer["us"] for layer in profile["layers"]), default=0.0) or 1.0
    rows = [_cells(layer, longest) for layer in profile["layers"]]
    return Section(head, rows, [profile["source"], *([profile["warning"]] if profile["warning"] else [])])


def _cells(layer: Document, longest: float) -> Sequence[Cell]:
    kernels = layer["kernels"]
    return (
        layer["layer"] or "(runtime)",
        "<\u00a01\u00a0µs" if layer["below"] else _time(layer["us"]),
        percent(layer["share"]),
        "█" * round(BAR * layer["us"] / longest),
        kernels[0] if len(kernels) == 1 else f"{len(kernels)} kinds",
    )


def _time(us: float) -> str:
    return f"{us / 1000:.3g}\u00a0ms" if us >= 1000 else f"{us:.3g}\u00a0µs"
