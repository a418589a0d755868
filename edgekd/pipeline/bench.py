"""Bundles that exist already, timed on devices and, with data, scored there."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgekd.bundle import Manifest, load_bundle
from edgekd.devices import Device
from edgekd.errors import BadInputError
from edgekd.measure import footprint, measure
from edgekd.measure.benchmark import Measurement
from edgekd.measure.model_file import Shapes, as_bundle, require_file_for
from edgekd.measure.protocol import Options
from edgekd.measure.records import Scenario
from edgekd.measure.results import Row, append_rows, row
from edgekd.measure.stand_in import may_be_timed, stand_in_on
from edgekd.measure.strict import COUNT, SECONDS, strict
from edgekd.pipeline.fleet import Member, Outcome, SharedProgress, needs_of, on_each, parse_devices, raise_if_all_failed
from edgekd.pipeline.samples import require_data_for
from edgekd.pipeline.verify import Arrays, EvalResult, EvalSet, beyond_host, eval_set_for
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
    any_range: bool = False,
    metric: str | None = None,
    out: Path | None = None,
    inputs: Path | None = None,
    shapes: Shapes | None = None,
    reporter: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """One row per bundle and device, a device's replicates interleaved; `out` receives the full rows with every sample.

    A model file (`.tflite`, `.onnx`, `.xml`) may stand for a bundle: `inputs` and `shapes` are as in
    `measure.model_file.as_bundle`.

    `by_mlperf` measures for as long as MLPerf Mobile asks for and says whether its rules were kept. What only stands in
    for its device has a row of bytes instead: its time is not the device's. With `data` each device is evaluated, too,
    as by `verify_on_each`, with the same options, after it was timed. Devices work at the same time, those on one
    machine in turn; a device that fails has one row with its error, unless all do: that is raised.
    """
    require_data_for(metric, data)
    if by_mlperf:
        seconds, count = _mlperfs(scenario, seconds, count)
    members = parse_devices([devices]) if isinstance(devices, str) else devices
    chosen = parse_options(options)
    with ExitStack() as held:
        folders = _folders(held, bundles, shapes or {}, inputs)
        manifests = _manifests(folders, batch)
        timed = [name for name, manifest in manifests.items() if may_be_timed(manifest.backend)]
        eval_sets = {
            name: eval_set_for(folders[name], manifest, data, reporter, any_range, metric)
            for name, manifest in manifests.items()
            if data
        }
        timing = partial(
            measure, replicates=replicates, seconds=seconds, count=count, batch=batch, threads=threads,
            affinity=affinity, scenario=scenario,
        )  # fmt: skip
        if out is not None:
            append_rows(out, ())  # what cannot be written is known before anything is measured
        wanted = eval_sets if beyond_host(members) else {}
        here = {name: eval_set.outputs_on_host() for name, eval_set in wanted.items()}
        trial = _Trial(folders, manifests, timed, chosen, timing, eval_sets, here, by_mlperf, out)
        outcomes = _on_all(members, trial, replicates, reporter)
    return [line for outcome in raise_if_all_failed(outcomes) for line in _lines(outcome, several=len(members) > 1)]


def _folders(held: ExitStack, paths: Sequence[Path], shapes: Shapes, inputs: Path | None) -> dict[str, Path]:
    """The bundle's folder of each path, by its name; those around files last as long as `held`."""
    require_file_for(paths, shapes, inputs)
    folders = {str(path): held.enter_context(as_bundle(path, shapes, inputs)) for path in paths}
    if len(folders) < len(paths):
        raise BadInputError(f"a bundle is named twice: {', '.join(map(str, paths))}; a copy of it may be")
    return folders


def _manifests(folders: Mapping[str, Path], batch: int | None) -> dict[str, Manifest]:
    manifests = {name: load_bundle(folder) for name, folder in folders.items()}
    for name, manifest in manifests.items():
        if batch is not None and manifest.fixed_batch not in {None, batch}:
            raise BadInputError(f"{name}: it takes batches of {manifest.fixed_batch} alone, not {batch}")
    return manifests


@dataclass(frozen=True)
class _Trial:
    """What each device has to do with all bundles, of which the `timed` ones run there where it is no stand-in."""

    folders: Mapping[str, Path]
    manifests: Mapping[str, Manifest]
    timed: Sequence[str]
    options: Options
    timing: Callable[..., dict[str, Measurement]]
    eval_sets: Mapping[str, EvalSet]
    here: Mapping[str, Arrays | str]
    by_mlperf: bool
    out: Path | None

    def on(self, device: Device, voice: Reporter) -> list[dict[str, Any]]:
        """A row for each bundle; errors as in `measure.Session`."""
        stand_ins = {name: stand_in_on(device, manifest.backend) for name, manifest in self.manifests.items()}
        sizes = [self._size(device, name, ran) for name, ran in stand_ins.items() if ran is not None]
        timed = {name: (self.folders[name], self.options) for name, ran in stand_ins.items() if ran is None}
        if not timed:
            return sizes
        measured = self.timing(device, timed, reporter=voice)
        rows = {name: self._row(name, found) for name, found in measured.items()}
        try:
            rows = {name: self._graded(device, name, found) for name, found in rows.items()}
        finally:  # an eval_set that fails loses no timing
            if self.out is not None:
                append_rows(self.out, rows.values())
        return sizes + [_shown(name, found, self.by_mlperf) for name, found in rows.items()]

    def _row(self, name: str, measured: Measurement) -> Row:
        return row(self.manifests[name], self.manifests[name].precision, measured, self.options)

    def _graded(self, device: Device, name: str, timed: Row) -> Row:
        result = self._evaluate(device, name)
        if result is None:
            return timed
        return timed.model_copy(
            update={
                "metric_name": result.metric.name,
                "metric_better": result.metric.better,
                "metric_unit": result.metric.unit,
                "metric": result.value,
                "difference": result.difference,
            }
        )

    def _size(self, device: Device, name: str, executed: str) -> dict[str, Any]:
        found = footprint(device, self.folders[name]).model_dump(mode="json")
        shown = {"bundle": name, "executed": executed} | found
        result = self._evaluate(device, name)
        return shown | ({result.metric.name: result.value, "metric": result.metric.describe()} if result else {})

    def _evaluate(self, device: Device, name: str) -> EvalResult | None:
        eval_set = self.eval_sets.get(name)
        return eval_set.evaluate_on(device, self.here.get(name), self.options) if eval_set else None


def _mlperfs(scenario: Scenario, seconds: float, count: int) -> tuple[float, int]:
    """How long each replicate takes at least; the clock also sees what is between inferences."""
    if scenario != "single-stream":
        raise BadInputError("--strict holds MLPerf Mobile's rules for single-stream: leave out --scenario")
    return max(seconds, 1.01 * SECONDS), max(count, COUNT)


def _on_all(
    members: Sequence[Member], trial: _Trial, replicates: int, reporter: Reporter
) -> list[Outcome[list[dict[str, Any]]]]:
    needs = needs_of(trial.manifests.values(), trial.options)
    if len(members) == 1:
        return on_each(members, partial(trial.on, voice=reporter), reporter, timed=True, needs=needs)
    with reporter.track("measuring", total=replicates * len(trial.timed) * len(members)) as bar:
        return on_each(members, partial(trial.on, voice=SharedProgress(bar)), reporter, timed=True, needs=needs)


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
        | ({found.metric_name: found.metric, "metric": found.scale.describe()} if found.metric_name else {})
        | ({"difference": found.difference.model_dump(mode="json")} if found.difference else {})
        | ({"strict": strict(found.samples).model_dump(mode="json")} if by_mlperf else {})
    )


def parse_options(options: Sequence[str]) -> dict[str, str]:
    """`key=value` pairs for the runtime; BadInputError for anything else."""
    pairs = [option.partition("=") for option in options]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise BadInputError(f"--option {key}: expected key=value")
    return {key: value for key, _, value in pairs}
