"""What each layer of a model takes on a device, beside what the whole takes when nobody counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekd.measure import Session
from edgekd.measure.model_file import Shapes, as_bundle, require_file_for
from edgekd.measure.protocol import Options
from edgekd.measure.records import KernelTime, ProfileRecord
from edgekd.pipeline.fleet import Member, on_each, raise_if_all_failed
from edgekd.progress import SILENT, Reporter
from edgekd.schema import Amount, Positive, Schema, Share

COVERED = 0.1  # by how much the sum of the kernels may differ from the whole


class LayerTime(Schema):
    """A layer, all its kernels together. `share` is of the sum of all, `us` that share of the latency of the whole.

    `layer` is None for what the runtime added by itself; `below` says that the counter showed nothing.
    """

    layer: str | None
    kernels: tuple[str, ...]
    precision: str | None
    placement: str
    share: Share
    us: Amount
    below: bool


class Profile(Schema):
    """Layers by what they take, the longest first; `coverage` is the kernels' sum by the latency of the whole."""

    model: str
    device: str
    source: str
    batch: int
    threads: int
    runs: int
    latency_us: Positive
    coverage: Amount
    layers: tuple[LayerTime, ...]
    warning: str | None = None


def profile_on_each(
    model: Path,
    members: Sequence[Member],
    *,
    runs: int = 100,
    batch: int | None = None,
    threads: int | None = None,
    options: Options | None = None,
    shapes: Shapes | None = None,
    inputs: Path | None = None,
    reporter: Reporter = SILENT,
) -> list[Profile]:
    """Profile a bundle or a model file on several devices; raise what a device raises that fails."""
    require_file_for([model], shapes, inputs)
    with as_bundle(model, shapes, inputs) as folder:
        outcomes = on_each(
            members,
            lambda device: (device.uri, Session(device, folder, options, batch, threads).profile(runs)),
            reporter,
            timed=True,
        )
    for outcome in raise_if_all_failed(outcomes):
        if outcome.error is not None:
            raise outcome.error
    return [summed(str(model), *outcome.result) for outcome in outcomes if outcome.result is not None]


def summed(model: str, device: str, found: ProfileRecord) -> Profile:
    """Kernels by layer; times that do not add up to the whole are scaled to it, and said to be."""
    by_layer: dict[str | None, list[KernelTime]] = {}
    for kernel in found.kernels:
        by_layer.setdefault(kernel.layer, []).append(kernel)
    whole = sum(kernel.us for kernel in found.kernels)
    layers = [_layer(layer, kernels, whole, found.latency_us) for layer, kernels in by_layer.items()]
    coverage = whole / found.latency_us
    return Profile(
        model=model, device=device, layers=tuple(sorted(layers, key=lambda layer: -layer.us)), coverage=coverage,
        warning=_doubt(coverage), **found.model_dump(exclude={"kernels"}),
    )  # fmt: skip


def _layer(layer: str | None, kernels: Sequence[KernelTime], whole: float, latency: float) -> LayerTime:
    own = sum(kernel.us for kernel in kernels)
    share = own / whole if whole else 0.0
    longest = max(kernels, key=lambda kernel: kernel.us)
    return LayerTime(
        layer=layer, kernels=tuple(dict.fromkeys(kernel.kernel for kernel in kernels)), precision=longest.precision,
        placement=longest.placement, share=share, us=share * latency, below=own == 0,
    )  # fmt: skip


def _doubt(coverage: float) -> str | None:
    if abs(coverage - 1) <= COVERED:
        return None
    return f"the kernels sum up to {100 * coverage:.0f} % of the latency of the whole: times are shares of that"


def trace(profile: Profile) -> dict[str, Any]:
    """A profile as Chrome's trace events, one layer after the other, for Perfetto."""
    events, at = [], 0.0
    for layer in profile.layers:
        facts = {"kernels": ", ".join(layer.kernels), "precision": layer.precision, "placement": layer.placement}
        events.append(
            {"name": layer.layer or "runtime", "ph": "X", "pid": 1, "tid": 1, "ts": at, "dur": layer.us, "args": facts}
        )
        at += layer.us
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {"model": profile.model, "device": profile.device},
    }
