"""Bundles that exist already, timed on devices."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edgekd.backends import stand_in
from edgekd.bundle import Manifest, load_bundle
from edgekd.devices import Device
from edgekd.errors import BadInputError
from edgekd.measure import footprint, measure
from edgekd.measure.benchmark import Measurement
from edgekd.measure.protocol import Options
from edgekd.measure.records import Scenario
from edgekd.measure.results import Row, append_rows, row
from edgekd.measure.strict import COUNT, SECONDS, strict
from edgekd.pipeline.fleet import Member, OneBar, Outcome, muster, on_each, some
from edgekd.pipeline.verify import Grade, beyond_host, exam_for
from edgekd.progress import SILENT, Reporter

_SHOWN = ("precision", "scenario", "batch", "threads", "affinity", "missing")
_LATENCY = (
    *("p50", "low", "high", "p90", "p99", "n", "replicates", "throughput"),
    *("load_ms", "warm_load_ms", "first_ms", "peak_rss_mb", "model_rss_mb", "switches_per_s"),
)


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
    data: Path | None = None,
    out: Path | None = None,
    reporter: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """One row per bundle and device, a device's replicates interleaved; `out` receives the full rows with every sample.

    `by_mlperf` measures for as long as MLPerf Mobile asks for and says whether its rules were kept. What only stands in
    for its device has a row of bytes instead: its time is not the device's. With `data` each device takes the exam of
    `verify_on_each` too, after it was timed. Devices are at work at the same time, those
    on one machine in turn; a device that fails has one row with its error, unless all do: that is raised.
    """
    if by_mlperf and scenario != "single-stream":
        raise BadInputError("--strict holds MLPerf Mobile's rules for single-stream: leave out --scenario")
    if by_mlperf:  # the clock also sees what is between inferences
        seconds, count = max(seconds, 1.01 * SECONDS), max(count, COUNT)
    members = muster([devices]) if isinstance(devices, str) else devices
    manifests = {str(bundle): load_bundle(bundle) for bundle in bundles}
    sized = [name for name, manifest in manifests.items() if stand_in(manifest.backend)]
    chosen = parse_options(options)
    candidates = {name: (Path(name), chosen) for name in manifests if name not in sized}
    exams = {name: exam_for(Path(name), manifests[name], data) for name in candidates} if data else {}
    here = {name: exam.taken_here() for name, exam in exams.items()} if beyond_host(members) else {}

    def job(device: Device, voice: Reporter) -> list[dict[str, Any]]:
        sizes = [_size(device, name, manifests[name]) for name in sized]
        if not candidates:
            return sizes
        measured = measure(device, candidates, replicates, seconds, count, batch, threads, voice, affinity, scenario)
        grades = {name: exam.graded(device, here.get(name)) for name, exam in exams.items()}
        rows = {name: _row(manifests[name], measured[name], chosen, grades.get(name)) for name in measured}
        if out is not None:
            append_rows(out, rows.values())
        return sizes + [_shown(name, found, by_mlperf) for name, found in rows.items()]

    if len(members) == 1:
        outcomes = on_each(members, partial(job, voice=reporter), reporter, timed=True)
    else:
        with reporter.track("measuring", total=replicates * len(candidates) * len(members)) as bar:
            outcomes = on_each(members, partial(job, voice=OneBar(bar)), reporter, timed=True)
    return [line for outcome in some(outcomes) for line in _lines(outcome, several=len(members) > 1)]


def _row(manifest: Manifest, measured: Measurement, options: Options, grade: Grade | None) -> Row:
    found = row(manifest, manifest.precision, measured, options)
    if grade is None:
        return found
    return found.model_copy(update={"metric_name": grade.metric, "metric": grade.value, "difference": grade.difference})


def _lines(outcome: Outcome[list[dict[str, Any]]], several: bool) -> list[dict[str, Any]]:
    lines = [{"error": str(outcome.error)}] if outcome.result is None else outcome.result
    return [{"device": outcome.uri} | line for line in lines] if several else lines


def _shown(name: str, found: Row, by_mlperf: bool) -> dict[str, Any]:
    return (
        {"bundle": name, "runtime": f"{found.runtime} {found.runtime_version}"}
        | {key: getattr(found, key) for key in _SHOWN}
        | {key: getattr(found.latency, key) for key in _LATENCY}
        | {"flags": list(found.latency.flags if found.latency else ())}
        | {"telemetry": found.telemetry.model_dump(mode="json") if found.telemetry else None}
        | ({found.metric_name: found.metric} if found.metric_name else {})
        | ({"difference": found.difference.model_dump(mode="json")} if found.difference else {})
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
