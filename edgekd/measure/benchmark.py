"""Latencies of candidates that are compared: fresh processes, interleaved, so that drift falls on all alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekd.devices import Device
from edgekd.measure.facts import Machine, machine_facts
from edgekd.measure.protocol import Options, Replicate, Session
from edgekd.measure.records import Scenario
from edgekd.measure.statistics import Flag, Latency, summarise
from edgekd.measure.telemetry import Telemetry, watch
from edgekd.progress import SILENT, Reporter

Candidates = Mapping[str, tuple[Path, Options]]


@dataclass(frozen=True)
class Measurement:
    """A latency, the replicates that it sums up, on what machine, and what that was like meanwhile.

    `runner` is the SHA-256 of the program that measured.
    """

    latency: Latency
    replicates: tuple[Replicate, ...]
    machine: Machine
    runner: str
    telemetry: Telemetry | None = None

    @property
    def samples(self) -> tuple[tuple[float, ...], ...]:
        """Every timed inference in ms, by replicate, in order."""
        return tuple(replicate.timing.samples_ms for replicate in self.replicates)


def measure(
    device: Device,
    candidates: Candidates,
    replicates: int = 5,
    seconds: float = 0.5,
    count: int = 50,
    batch: int | None = None,
    threads: int | None = None,
    reporter: Reporter = SILENT,
    affinity: str | None = None,
    scenario: Scenario = "single-stream",
) -> dict[str, Measurement]:
    """Measure bundles by label, each `(folder, runtime options)`, in rounds A B, B A, …; errors as in `Session`."""
    sessions = {
        label: Session(device, folder, options, batch, threads, affinity)
        for label, (folder, options) in candidates.items()
    }
    runs: dict[str, list[Replicate]] = {label: [] for label in sessions}
    with watch(device) as watched, reporter.track("measuring", total=replicates * len(sessions)) as bar:
        for turn in range(replicates):
            for label in list(sessions)[:: -1 if turn % 2 else 1]:
                runs[label].append(sessions[label].bench(seconds, count, scenario))
                bar.advance(note=label)
    machine, state = machine_facts(device), watched.telemetry
    flags = _flags(machine, state)
    return {
        label: Measurement(_latency(done, flags), tuple(done), machine, sessions[label].runner_sha256, state)
        for label, done in runs.items()
    }


def _flags(machine: Machine, state: Telemetry | None) -> tuple[Flag, ...]:
    """Those of the device, whatever was measured there."""
    raised: dict[Flag, bool] = {"throttled": bool(state and state.throttled), "emulated": machine.emulated}
    return tuple(flag for flag, seen in raised.items() if seen)


def _latency(replicates: list[Replicate], seen: tuple[Flag, ...]) -> Latency:
    timings = [replicate.timing for replicate in replicates]
    latency = summarise(timings, [replicate.load.ms for replicate in replicates])
    return latency.model_copy(update={"flags": tuple(dict.fromkeys((*latency.flags, *seen)))})
