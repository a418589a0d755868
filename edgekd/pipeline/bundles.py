"""Bundles that exist already: verified and timed on a device."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.backends import stand_in
from edgekd.bundle import Manifest, Preprocessing, load_bundle
from edgekd.data.dataset import Split, is_tokens, resized
from edgekd.data.npz import read_npz
from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError
from edgekd.measure import census, footprint, measure, verify
from edgekd.measure.facts import machine_facts
from edgekd.measure.results import append_rows, row
from edgekd.measure.strict import COUNT, SECONDS, strict
from edgekd.pipeline.proof import metric_on
from edgekd.progress import SILENT, Reporter

Array = NDArray[Any]
_SHOWN = ("p50", "low", "high", "p90", "p99", "n", "load_ms", "first_ms", "peak_rss_mb", "throughput")


def verify_bundle(bundle: Path, uri: str = "local:", data: Path | None = None) -> dict[str, Any]:
    """Golden parity, the census of kernels and, with data, the metric; `ok` says whether parity holds."""
    manifest, device = load_bundle(bundle), open_device(uri)
    try:
        golden = [verdict.model_dump(mode="json") for verdict in verify(device, bundle)]
        kernels = census(device, bundle)
        report: dict[str, Any] = {"bundle": str(bundle), "device": uri, "ok": all(row["ok"] for row in golden)}
        report |= {"golden": golden, "kernels": {"int8": kernels.int8, "total": kernels.total}}
        report |= {"warning": kernels.warning} if kernels.warning else {}
        return report | (_metric(manifest, bundle, device, data) if data else {})
    finally:
        device.close()


def bench_bundles(
    bundles: Sequence[Path],
    uri: str = "local:",
    *,
    batch: int | None = None,
    threads: int | None = None,
    options: Sequence[str] = (),
    replicates: int = 5,
    seconds: float = 1.0,
    count: int = 50,
    by_mlperf: bool = False,
    out: Path | None = None,
    reporter: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """One row per bundle, their replicates interleaved; `out` receives the full rows with every sample.

    `by_mlperf` measures for as long as MLPerf Mobile asks for and says whether its rules were kept. What only stands in
    for its device has a row of bytes instead: its time is not the device's.
    """
    if by_mlperf:
        seconds, count = (
            max(seconds, 1.01 * SECONDS),
            max(count, COUNT),
        )  # the clock also sees what is between inferences
    manifests = {str(bundle): load_bundle(bundle) for bundle in bundles}
    chosen, device = parse_options(options), open_device(uri)
    try:
        sizes = [_size(device, name, manifest) for name, manifest in manifests.items() if stand_in(manifest.backend)]
        timed = [name for name, manifest in manifests.items() if not stand_in(manifest.backend)]
        candidates = {name: (Path(name), chosen) for name in timed}
        measured = measure(device, candidates, replicates, seconds, count, batch, threads, reporter) if timed else {}
        machine = machine_facts(device)
    finally:
        device.close()
    rows = {
        name: row(machine, manifests[name], manifests[name].precision, measurement, chosen)
        for name, measurement in measured.items()
    }
    if out is not None:
        append_rows(out, rows.values())
    return sizes + [
        {"bundle": name, "runtime": f"{found.runtime} {found.runtime_version}", "batch": found.batch}
        | {key: getattr(found.latency, key) for key in _SHOWN}
        | {"flags": list(found.latency.flags if found.latency else ())}
        | ({"strict": strict(found.samples).model_dump(mode="json")} if by_mlperf else {})
        for name, found in rows.items()
    ]


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
