"""What quantising costs, layer by layer: where to keep float first."""

import shlex
from dataclasses import dataclass

from edgekd.reporting.layer_table import decibels
from edgekd.reporting.run_record import RunRecord, TargetRecord
from edgekd.reporting.sortable import Column, Filter, Order, Table, by_name, largest_first, smallest_first, sortable
from edgekd.reporting.verdict import SHIPPED
from edgekd.runtimes import backend_names, find_runtime

HERE = "local:"
MOST = 100  # rows of the page; `report --tables` writes them all


@dataclass(frozen=True)
class LayerRow:
    """A layer of a scheme's graph: signal to noise of its output, and what is lost in it, in dB."""

    scheme: str
    layer: str
    kind: str
    sqnr_db: float | None
    lost_db: float


def rows(run: RunRecord) -> list[LayerRow]:
    """The layers of all schemes, the worst first."""
    found = [
        LayerRow(scheme, layer.layer, layer.kind, layer.sqnr_db, layer.lost_db)
        for scheme, entry in run.quantized.items()
        for layer in entry.layers
        if layer.lost_db is not None
    ]
    return sorted(found, key=lambda row: -row.lost_db)


def table(run: RunRecord) -> Table:
    """The worst of them, to be sorted by loss, by signal to noise and by name, of a scheme or a kind alone."""
    worst = rows(run)[:MOST]
    several = len(run.quantized) > 1
    return sortable(
        "layer-table",
        worst,
        [
            Column("Layer", lambda row: row.layer),
            *([Column[LayerRow]("Scheme", lambda row: row.scheme)] if several else []),
            Column("Kind", lambda row: row.kind),
            Column("Signal to noise", lambda row: decibels(row.sqnr_db)),
            Column("Lost here", lambda row: decibels(row.lost_db)),
        ],
        [
            largest_first("loss", lambda row: row.lost_db, "Lost here"),
            smallest_first("signal to noise", lambda row: row.sqnr_db, "Signal to noise"),
            Order("name", lambda row: by_name(row.layer), "Layer", value=lambda row: row.lost_db),
        ],
        [Filter("Scheme", lambda row: row.scheme), Filter("Kind", lambda row: row.kind)],
    )


def profile_command(run: RunRecord) -> str | None:
    """What to type in the run's folder for a page of what each layer takes, this machine first; None where none can."""
    able = [(name, target) for name, target in run.targets.items() if _tells_times(target)]
    if not able:
        return None
    name, target = min(able, key=lambda entry: entry[1].device != HERE)
    words = ["edgekd", "profile", f"bundles/{name}"]
    if "float" in target.variants and not target.variants["float"].broken:
        words += ["--against", f"bundles/{name}-float"]
    if target.device and target.device != HERE:
        words += ["--device", target.device]
    return shlex.join([*words, "--html", "layers.html"])


def _tells_times(target: TargetRecord) -> bool:
    """Whether its int8 bundle is there, on a device that tells what its layers take; a browser does not."""
    kept = target.status in SHIPPED and "int8" in target.variants and not target.variants["int8"].broken
    there = target.device is not None and not target.device.startswith("web:")
    return kept and there and target.backend in backend_names() and bool(find_runtime(target.backend).PROFILED)
