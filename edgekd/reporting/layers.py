"""What quantising costs, layer by layer: where to keep float first."""

from typing import Any

from edgekd.reporting.words import NONE, Run

MOST = 12


def rows(run: Run) -> list[dict[str, Any]]:
    """The layers that lose most, the worst first; `share` is of the worst one's loss, 0 to 1."""
    found = [
        {"scheme": scheme, **layer}
        for scheme, entry in (run.get("quantized") or {}).items()
        for layer in entry.get("layers") or ()
        if layer.get("lost_db") is not None
    ]
    worst = sorted(found, key=lambda layer: -layer["lost_db"])[:MOST]
    most = max((layer["lost_db"] for layer in worst), default=0.0) or 1.0
    return [
        {
            "scheme": layer["scheme"], "layer": layer["layer"], "kind": layer["kind"],
            "sqnr": _decibels(layer.get("sqnr_db")), "lost": _decibels(layer["lost_db"]),
            "share": round(max(layer["lost_db"], 0.0) / most, 3),
        }
        for layer in worst
    ]  # fmt: skip


def _decibels(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}\u00a0dB"
