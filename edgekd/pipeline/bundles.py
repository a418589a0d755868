"""Bundles that exist already: verified and timed on a device."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.backends import stand_in
from edgekd.bundle import Manifest, Preprocessing, load_bundle
from edgekd.data.dataset import Split, is_tokens, resized
from edgekd.data.npz import read_npz
from edgekd.devices import Device
from edgekd.errors import BadInputError
from edgekd.measure import census, footprint, measure, verify
from edgekd.measure.records import Scenario
from edgekd.measure.results import Row, append_rows, row
from edgekd.measure.strict import COUNT, SECONDS, strict
from edgekd.pipeline.fleet import Member, OneBar, Outcome, Result, muster, on_each
from edgekd.pipeline.proof import metric_on
from edgekd.progress import SILENT, Reporter

Array = NDArray[Any]
_SHOWN = (
    *("p50", "low", "high", "p90", "p99", "n", "throughput"),
    *("load_ms", "warm_load_ms", "first_ms", "peak_rss_mb", "model_rss_mb"),
)


def verify_bundle(bundle: Path, uri: str = "local:", data: Path | None = None) -> dict[str, Any]:
    """Golden parity, the census of kernels and, with data, the metric; `ok` says whether parity holds."""
    return verify_on_each(bundle, muster([uri]), data)[0]


def verify_on_each(
    bundle: Path, members: Sequence[Member], data: Path | None = None, reporter: Reporter = SILENT
) -> list[dict[str, Any]]:
    """The same on several devices at once. One that fails has its error in its row, unless all do: that is raised."""
    manifest = load_bundle(bundle)
    outcomes = on_each(members, lambda device: _verdict(bundle, manifest, device, data), reporter)
    return [
        outcome.result or {"device": outcome.uri, "ok": False, "error": str(outcome.error)}
        for outcome in _some(outcomes)
    ]


def _verdict(bundle: Path, manifest: Manifest, device: Device, data: Path | None) -> dict[str, Any]:
    golden = [verdict.model_dump(mode="json") for verdict in verify(device, bundle)]
    kernels = census(device, bundle)
    report: dict[str, Any] = {"bundle": str(bundle), "device": device.uri, "ok": all(row["ok"] for row in golden)}
    report |= {"golden": golden, "kernels": {"int8": kernels.int8, "total": kernels.total}}
    report |= {"warning": kernels.warning} if kernels.warning else {}
    return report | (_metric(manifest, bundle, device, data) if data else {})


def bench_bundles(
    bundles: Sequence[Path],
    devices: str | Sequence[Member] = "local:",
    *,
    batch: int | None = None,
    threads: int | None = None,
    affinity: str | None = None,
    scenario: Scenario = "single-stream",
    options: Sequence[str] = (),
    replicates: int = 5,
    seconds: float = 1.0,
    count: int = 50,
    by_mlperf: bool = False,
    out: Path | None = None,
    reporter: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """One row per bundle and device, a device's replicates interleaved; `out` receives the full rows with every sample.

    `by_mlperf` measures for as long as MLPerf Mobile asks for and says whether its rules were kept. What only stands in
    for its device has a row of bytes instead: its time is not the device's. Devices are at work at the same time, those
    on one machine in turn; a device that fails has one row with its error, unless all do: that is raised.
    """
    if by_mlperf:  # the clock also sees what is between inferences
        seconds, count = max(seconds, 1.01 * SECONDS), max(count, COUNT)
    members = muster([devices]) if isinstance(devices, str) else devices
    manifests = {str(bundle): load_bundle(bundle) for bundle in bundles}
    sized = [name for name, manifest in manifests.items() if stand_in(manifest.backend)]
    chosen = parse_options(options)
    candidates = {name: (Path(name), chosen) for name in manifests if name not in sized}

    def job(device: Device, voice: Reporter) -> list[dict[str, Any]]:
        sizes = [_size(device, name, manifests[name]) for name in sized]
        if not candidates:
            return sizes
        measured = measure(device, candidates, replicates, seconds, count, batch, threads, voice, affinity, scenario)
        rows = {name: row(manifests[name], manifests[name].precision, measured[name], chosen) for name in measured}
        if out is not None:
            append_rows(out, rows.values())
        return sizes + [_shown(name, found, by_mlperf) for name, found in rows.items()]

    if len(members) == 1:
        outcomes = on_each(members, partial(job, voice=reporter), reporter, timed=True)
    else:
        with reporter.track("measuring", total=replicates * len(candidates) * len(members)) as bar:
            outcomes = on_each(members, partial(job, voice=OneBar(bar)), reporter, timed=True)
    return [line for outcome in _some(outcomes) for line in _lines(outcome, several=len(members) > 1)]


def _lines(outcome: Outcome[list[dict[str, Any]]], several: bool) -> list[dict[str, Any]]:
    lines = [{"error": str(outcome.error)}] if outcome.result is None else outcome.result
    return [{"device": outcome.uri} | line for line in lines] if several else lines


def _some(outcomes: list[Outcome[Result]]) -> list[Outcome[Result]]:
    """Outcomes of which one at least is no failure."""
    first = outcomes[0].error
    if first is not None and all(outcome.error for outcome in outcomes):
        raise first
    return outcomes


def _shown(name: str, found: Row, by_mlperf: bool) -> dict[str, Any]:
    return (
        {"bundle": name, "runtime": f"{found.runtime} {found.runtime_version}", "batch": found.batch}
        | {key: getattr(found.latency, key) for key in _SHOWN}
        | {"flags": list(found.latency.flags if found.latency else ())}
        | ({"strict": strict(found.samples).model_dump(mode="json")} if by_mlperf else {})
    )


def _size(device: Device, name: str, manifest: Manifest) -> dict[str, Any]:
    found = footprint(device, Path(name)).model_dump(mode="json")
    return {"bundle": name, "executed": stand_in(manifest.backend)} | found


def parse_options(options: Sequence[str]) -> dict[str, str]:
    """`key=value` pairs for the runtime; BadInputError for anything else."""
    pairs = [option.partition("=") for option in options]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise BadInputError(f"--option {key}: expected key=value")
    return {key: value for key, _, value in pairs}


def _metric(manifest: Manifest, bundle: Path, device: Device, data: Path) -> dict[str, Any]:
    samples, preprocessing = _labelled(data), manifest.inputs[0].preprocessing
    length = manifest.inputs[0].shape[-1]
    if is_tokens(samples.inputs) and length is not None:
        samples = Split(resized(samples.inputs, length), samples.labels)
    elif preprocessing is None and samples.inputs.dtype.kind != "f":
        raise BadInputError(f"{data}: the bundle says nothing of preprocessing, so x must hold float model inputs")
    name = _metric_of(samples, data)
    found = metric_on(device, bundle, samples, preprocessing or Preprocessing(), name)
    return {"samples": len(samples), name: found, "on_host": manifest.metrics.get(name)}


def _metric_of(samples: Split, data: Path) -> str:
    """Integers are classes, floats the scores of pairs: of rows 2i and 2i+1, which both carry it."""
    if samples.labels.dtype.kind != "f":
        return "accuracy"
    first, second = samples.labels[::2], samples.labels[1::2]
    if len(first) != len(second) or not np.array_equal(first, second):
        raise BadInputError(f"{data}: y holds scores of pairs, so rows 2i and 2i+1 must both carry the score of theirs")
    return "spearman"


def _labelled(path: Path) -> Split:
    """Raw samples as in training, and labels or scores."""
    arrays = read_npz(path)
    for inputs, labels in (("x", "y"), ("x_test", "y_test")):
        if inputs in arrays and labels in arrays:
            return Split(arrays[inputs], arrays[labels])
    there = ", ".join(arrays) or "nothing"
    raise BadInputError(f"{path}: needs arrays x and y (or x_test and y_test); there is: {there}")
