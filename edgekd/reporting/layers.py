"""What quantising costs, layer by layer: where to keep float first."""

from dataclasses import dataclass

from edgekd.reporting.layer_table import decibels
from edgekd.reporting.run_record import RunRecord

MOST = 12


@dataclass(frozen=True)
class LayerRow:
    """A layer of a scheme's graph; `share` is its loss beside the worst one's, 0 to 1."""

    scheme: str
    layer: str
    kind: str
    sqnr: str
    lost: str
    share: float


def rows(run: RunRecord) -> list[LayerRow]:
    """The layers that lose most, the worst first."""
    found = [
        (layer.lost_db, scheme, layer)
        for scheme, entry in run.quantized.items()
        for layer in entry.layers
        if layer.lost_db is not None
    ]
    worst = sorted(found, key=lambda one: -one[0])[:MOST]
    most = max((lost for lost, *_ in worst), default=0.0) or 1.0
    return [
        LayerRow(
            scheme, layer.layer, layer.kind, decibels(layer.sqnr_db), decibels(lost), round(max(lost, 0.0) / most, 3)
        )
        for lost, scheme, layer in worst
    ]
