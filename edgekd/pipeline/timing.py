"""Latency as a stage: a target's variants, interleaved, with every raw sample kept in results.jsonl."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from edgekd.bundle import MANIFEST, load_bundle
from edgekd.devices import Device, transport_of
from edgekd.files import sha256
from edgekd.measure import measure
from edgekd.measure.protocol import Options
from edgekd.measure.results import keep_rows, read_rows, row, write_rows
from edgekd.pipeline.stages import Stages
from edgekd.progress import Reporter
from edgekd.recipe import Benchmark
from edgekd.target import Target

Candidates = Mapping[str, tuple[Path, Options]]
RESULTS, TIMINGS = "results.jsonl", "timings"


class Timed(TypedDict):
    """A candidate as it was timed: `latency` as `measure.statistics.Latency`, `telemetry` as its model, in JSON."""

    label: str
    latency: dict[str, object]
    telemetry: dict[str, object] | None


def time_variants(
    stages: Stages, target: Target, candidates: Candidates, device: Device, settings: Benchmark, reporter: Reporter
) -> dict[str, Timed]:
    """Latency by candidate, with what the device was like, and a label of the precision that it really computes in.

    The rows of a finished measurement are in results.jsonl once, those of one that was killed are not.
    """
    kept = f"{TIMINGS}/{target.name}.jsonl"

    def work(_: str) -> dict[str, Timed]:
        reporter.say(f"measuring {target.name}")
        measured = measure(device, candidates, settings.replicates, settings.seconds, settings.count, reporter=reporter)
        found: dict[str, Timed] = {}
        rows = []
        for name, (folder, options) in candidates.items():
            label = measured[name].replicates[0].load.details.get("precision", name) if options else name
            rows.append(row(load_bundle(folder), label, measured[name], options))
            state = measured[name].telemetry
            found[name] = {
                "label": label, "latency": measured[name].latency.model_dump(mode="json"),
                "telemetry": state.model_dump(mode="json") if state else None,
            }  # fmt: skip
        write_rows(stages.folder / kept, rows)
        return found

    bundles = {name: [sha256(folder / MANIFEST), dict(options)] for name, (folder, options) in candidates.items()}
    key = {"bundles": bundles, "device": device.uri, "settings": settings.model_dump(mode="json")}
    code = (__name__, transport_of(device.uri))
    times: dict[str, Timed] = stages.run(f"latency-{target.name}", key, work, (kept,), code=code)
    results = stages.folder / RESULTS
    if lost := keep_rows(results, read_rows(stages.folder / kept)):
        reporter.say(f"{results}: {lost} damaged line{'s' if lost > 1 else ''} dropped")
    return times
