"""Latency as a stage: a target's variants, interleaved, with every raw sample kept in results.jsonl."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekd.bundle import MANIFEST, load_bundle
from edgekd.devices import Device
from edgekd.files import sha256
from edgekd.measure import measure
from edgekd.measure.protocol import Options
from edgekd.measure.results import append_rows, row
from edgekd.pipeline.stages import Stages
from edgekd.progress import Reporter
from edgekd.recipe import Benchmark
from edgekd.target import Target

Candidates = Mapping[str, tuple[Path, Options]]
RESULTS = "results.jsonl"


def time_variants(
    stages: Stages, target: Target, candidates: Candidates, device: Device, settings: Benchmark, reporter: Reporter
) -> dict[str, dict[str, Any]]:
    """Latency by candidate, with what the device was like, and a label of the precision that it really computes in."""

    def work(_: str) -> dict[str, Any]:
        reporter.say(f"measuring {target.name}")
        measured = measure(device, candidates, settings.replicates, settings.seconds, settings.count, reporter=reporter)
        found = {}
        for name, (folder, options) in candidates.items():
            label = measured[name].replicates[0].load.details.get("precision", name) if options else name
            append_rows(stages.folder / RESULTS, [row(load_bundle(folder), label, measured[name], options)])
            state = measured[name].telemetry
            found[name] = {
                "label": label, "latency": measured[name].latency.model_dump(mode="json"),
                "telemetry": state.model_dump(mode="json") if state else None,
            }  # fmt: skip
        return found

    bundles = {name: [sha256(folder / MANIFEST), dict(options)] for name, (folder, options) in candidates.items()}
    key = {"bundles": bundles, "device": device.uri, "settings": settings.model_dump(mode="json")}
    times: dict[str, dict[str, Any]] = stages.run(f"latency-{target.name}", key, work)
    return times
