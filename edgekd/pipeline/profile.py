"""What each layer of a model takes on a device, beside what the whole takes when nobody counts."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edgekd.bundle import LayerLoss, load_bundle
from edgekd.devices import Device
from edgekd.measure import Session
from edgekd.measure.model_file import Shapes, as_bundle, require_file_for
from edgekd.measure.protocol import Options
from edgekd.measure.records import KernelTime, ProfileRecord
from edgekd.pipeline.fleet import Member, Outcome, needs_of, on_each, raise_if_all_failed
from edgekd.progress import SILENT, Reporter
from edgekd.schema import Amount, Count, Positive, Schema, Share

COVERED = 0.1  # by how much the sum of the kernels may differ from the whole
UNTOLD = 0.1  # of a layer's time: counters of two runs tell no smaller difference


class LayerTime(Schema):
    """A layer, all its kernels together, in the `place` in which they are executed.

    `share` is of the sum of all, `us` that share of the latency of the whole. `layer` is None for what the runtime
    added by itself; `below` says that the counter showed nothing. `sqnr_db` and `lost_db` are what quantising has cost
    by its output and by itself, `other_us` what it takes in another file, where its name is `other_layer`.
    """

    place: Count
    layer: str | None
    kernels: tuple[str, ...]
    precision: str | None
    placement: str
    share: Share
    us: Amount
    below: bool
    sqnr_db: float | None = None
    lost_db: float | None = None
    weights: Count | None = None
    other_us: Amount | None = None
    other_layer: str | None = None

    @property
    def saved_us(self) -> float | None:
        """What this file saves by it; negative where the other one is faster."""
        return None if self.other_us is None else self.other_us - self.us

    @property
    def rank(self) -> tuple[bool, float]:
        """First what loses and saves nothing, then by decibels for a microsecond saved: what to keep in float first."""
        lost, saved = self.lost_db or 0.0, self.saved_us or 0.0
        free = saved <= UNTOLD * self.us
        return (lost > 0 and free, lost if free else lost / saved)


class Profile(Schema):
    """Layers by what they take, the longest first; `coverage` is the kernels' sum by the latency of the whole.

    Beside an `other` file, of `other_us`, they are in the order of what it would be worth to have them as there;
    `matched` says by what they were found in it.
    """

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
    other: str | None = None
    other_us: Positive | None = None
    matched: str | None = None


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
    against: Path | None = None,
    reporter: Reporter = SILENT,
) -> list[Outcome[Profile]]:
    """Profile a bundle or a model file on several devices; raise what the first one raises where all fail.

    `against` is another one of the same network, such as the float one, run with the batch and threads of the first:
    its layers are held beside these by name, or else by the sizes of their weights in order.
    """
    paths = [model, *([against] if against else [])]
    require_file_for(paths, shapes, inputs)
    with ExitStack() as held:
        folders = [held.enter_context(as_bundle(path, shapes, inputs)) for path in paths]
        losses = load_bundle(folders[0]).layers

        def work(device: Device) -> Profile:
            found: list[Profile] = []
            for path, folder in zip(paths, folders, strict=True):
                asked = (found[0].batch, found[0].threads) if found else (batch, threads)  # both do the same work
                found.append(summed(str(path), device.uri, Session(device, folder, options, *asked).profile(runs)))
            own = with_losses(found[0], losses)
            return beside(own, found[1]) if against else own

        needs = needs_of(map(load_bundle, folders), options)
        outcomes = on_each(members, work, reporter, timed=True, needs=needs)
    return raise_if_all_failed(outcomes)


def summed(model: str, device: str, found: ProfileRecord) -> Profile:
    """Kernels by layer; times that do not add up to the whole are scaled to it, and said to be."""
    by_layer: dict[str | None, list[KernelTime]] = {}
    for kernel in found.kernels:
        by_layer.setdefault(kernel.layer, []).append(kernel)
    whole = sum(kernel.us for kernel in found.kernels)
    layers = [
        _layer(place, layer, kernels, whole, found.latency_us)
        for place, (layer, kernels) in enumerate(by_layer.items())
    ]
    coverage = whole / found.latency_us
    return Profile(
        model=model, device=device, layers=tuple(sorted(layers, key=lambda layer: -layer.us)), coverage=coverage,
        warning=_doubt(coverage), **found.model_dump(exclude={"kernels"}),
    )  # fmt: skip


def with_losses(profile: Profile, losses: Sequence[LayerLoss]) -> Profile:
    """Add what quantising has cost, by layer; a loss whose layer has no kernel of its own is left out."""
    known = {loss.layer: loss for loss in losses}
    layers = [
        layer.model_copy(update=known[layer.layer].model_dump(include={"sqnr_db", "lost_db"}))
        if layer.layer in known
        else layer
        for layer in profile.layers
    ]
    return profile.model_copy(update={"layers": tuple(layers)})


def beside(profile: Profile, other: Profile) -> Profile:
    """Add what each layer takes in another file, and bring first what it would be worth to have as there."""
    pairs = Pairs(profile.layers, other.layers)
    layers = [layer.model_copy(update=_there(pairs.of(layer))) for layer in profile.layers]
    ranked = sorted(layers, key=lambda layer: layer.rank, reverse=True)
    told = {"other": other.model, "other_us": other.latency_us, "matched": str(pairs)}
    return profile.model_copy(update={"layers": tuple(ranked), **told})


def _there(layer: LayerTime | None) -> dict[str, object]:
    return {} if layer is None else {"other_us": layer.us, "other_layer": layer.layer}


class Pairs:
    """Which layer of one file is which of another: by name, or else by how many weights it has, in their order.

    Sizes pair where both files have as many layers of one size. A name pairs nothing of two sizes.
    """

    def __init__(self, ours: Sequence[LayerTime], theirs: Sequence[LayerTime]) -> None:
        mine, others = ([*_named(layers)] for layers in (ours, theirs))
        by_name = {layer.layer: layer for layer in others}
        self._named = {
            layer.place: found for layer in mine if (found := by_name.get(layer.layer)) and _alike(layer, found)
        }
        taken = {layer.place for layer in self._named.values()}
        left = _by_size(layer for layer in mine if layer.place not in self._named)
        there = _by_size(layer for layer in others if layer.place not in taken)
        self._sized = {
            layer.place: found
            for size, layers in left.items()
            if len(layers) == len(there.get(size, ()))
            for layer, found in zip(layers, there[size], strict=True)
        }
        self._layers = len(mine)

    def of(self, layer: LayerTime) -> LayerTime | None:
        """Return the same layer of the other file."""
        return self._named.get(layer.place) or self._sized.get(layer.place)

    def __str__(self) -> str:
        """By what how many were found."""
        if not (self._named or self._sized):
            return "no layer was found there: neither names nor sizes of weights are alike"
        ways = {"by name": self._named, "by size and order of weights": self._sized}
        told = ", ".join(f"{len(found)} {way}" for way, found in ways.items() if found)
        return f"of {self._layers} layers, {told}"


def _named(layers: Sequence[LayerTime]) -> Iterator[LayerTime]:
    """Those that are not the runtime's, in the order of execution."""
    return (layer for layer in sorted(layers, key=lambda layer: layer.place) if layer.layer is not None)


def _alike(one: LayerTime, other: LayerTime) -> bool:
    return None in (one.weights, other.weights) or one.weights == other.weights


def _by_size(layers: Iterable[LayerTime]) -> dict[int, list[LayerTime]]:
    found: dict[int, list[LayerTime]] = {}
    for layer in layers:
        if layer.weights:
            found.setdefault(layer.weights, []).append(layer)
    return found


def _layer(place: int, layer: str | None, kernels: Sequence[KernelTime], whole: float, latency: float) -> LayerTime:
    own = sum(kernel.us for kernel in kernels)
    share = own / whole if whole else 0.0
    longest = max(kernels, key=lambda kernel: kernel.us)
    return LayerTime(
        place=place, layer=layer, kernels=tuple(dict.fromkeys(kernel.kernel for kernel in kernels)),
        precision=longest.precision, placement=longest.placement, share=share, us=share * latency, below=own == 0,
        weights=next((kernel.weights for kernel in kernels if kernel.weights), None),
    )  # fmt: skip


def _doubt(coverage: float) -> str | None:
    if abs(coverage - 1) <= COVERED:
        return None
    return f"the kernels sum up to {100 * coverage:.0f} % of the latency of the whole: times are shares of that"


def trace(profile: Profile) -> dict[str, Any]:
    """A profile as Chrome's trace events, layers in the order of execution, for Perfetto."""
    events, at = [], 0.0
    for layer in sorted(profile.layers, key=lambda layer: layer.place):
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
