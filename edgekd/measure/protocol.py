"""A bundle on a device: run the runner there, in a process of its own, and believe nothing but its `end` record."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgekd.bundle import read_manifest
from edgekd.devices import Device, Finished, open_device, start_command
from edgekd.errors import BadInputError, DeviceError, MissingRuntimeError
from edgekd.files import sha256
from edgekd.measure.predictions import read_predictions
from edgekd.measure.records import (
    End,
    Footprint,
    Golden,
    Kernels,
    Load,
    Predictions,
    ProfileRecord,
    Scenario,
    Start,
    Tensors,
    Timing,
)
from edgekd.reading import reading
from edgekd.runner.bundle import write_arrays
from edgekd.runner_source import runner_source, write_runner
from edgekd.schema import Schema

Array = np.ndarray[Any, Any]
Options = Mapping[str, str | int | bool]
SLOWEST = 1.0  # seconds per inference beyond which a device counts as hung
KILLED = 128  # from here on exit codes are signals: whatever ended it, it was not the program itself
Record = TypeVar("Record", bound=Schema)


@dataclass(frozen=True)
class Answer:
    """All records of one run, by kind."""

    records: Mapping[str, Sequence[Mapping[str, Any]]]
    end: End

    def every(self, kind: str, model: type[Record]) -> tuple[Record, ...]:
        """The typed records of a kind; DeviceError when there is none or one is malformed."""
        found = self.records.get(kind, ())
        if not found:
            raise DeviceError(f"the runner sent no {kind!r} record")
        return tuple(_typed(model, record) for record in found)


@dataclass(frozen=True)
class Replicate:
    """One fresh process: who answered, how long loading took, and its latencies."""

    start: Start
    load: Load
    timing: Timing


@dataclass(frozen=True)
class Session:
    """One bundle on one device. `options`, `batch`, `threads` and `affinity` override the manifest's.

    `affinity` are cores to stay on, such as `4-7`; `timeout` is in seconds.
    """

    device: Device
    bundle: Path
    options: Options | None = None
    batch: int | None = None
    threads: int | None = None
    affinity: str | None = None
    timeout: float = 600.0

    @property
    def backend(self) -> str:
        """What the bundle was compiled by."""
        return read_manifest(self.bundle).backend

    @property
    def runner_sha256(self) -> str:
        """Of the program that measures: the device's own, or that of the bundle's backend."""
        if self.device.runner is not None:
            return sha256(self.device.runner)
        return hashlib.sha256(runner_source(self.backend).encode()).hexdigest()

    def operator_coverage(self) -> Kernels:
        """Load (or, for TensorRT, build) the model and count its int8 kernels."""
        return self._run("build").every("kernels", Kernels)[0]

    def verify(self) -> tuple[Golden, ...]:
        """Golden parity, one verdict per output."""
        return self._run("verify", accept=("mismatch", "not-proven")).every("golden", Golden)

    def bench(self, seconds: float = 1.0, count: int = 50, scenario: Scenario = "single-stream") -> Replicate:
        """Latencies of one fresh process, for at least `seconds` and `count` inferences."""
        offline = [] if scenario == "single-stream" else ["--scenario", scenario]
        least, patience = (f"--seconds={seconds}", f"--count={count}"), 10 * seconds + SLOWEST * count
        answer = self._run("bench", *least, *offline, longer=patience)
        timing, batch = answer.every("latency", Timing)[0], self.batch or read_manifest(self.bundle).batch
        if timing.batch != batch:
            raise DeviceError(f"the runner timed batch {timing.batch}, where {batch} was asked for")
        return Replicate(answer.every("start", Start)[0], answer.every("load", Load)[0], timing)

    def profile(self, runs: int) -> ProfileRecord:
        """What each kernel takes; BadInputError where the runtime does not tell."""
        return self._run("profile", f"--runs={runs}", longer=3 * SLOWEST * runs).every("profile", ProfileRecord)[0]

    def footprint(self) -> Footprint:
        """What the model takes of a device that cannot be timed here."""
        return self._run("bench").every("footprint", Footprint)[0]

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, samples first; inputs and outputs are in the bundle's own types and layout.

        Raises DeviceError for outputs that are not the manifest's.
        """
        with closing(open_device("local:")) as here:  # whose folder goes with this process, however that ends
            source, result = Path(here.workspace) / "inputs.npz", Path(here.workspace) / "outputs.npz"
            write_arrays(source, inputs)
            remote = f"{self.device.workspace}/outputs.npz"
            count = max(map(len, inputs.values()), default=0)
            paths = "--input", self.device.push(source), "--output", remote
            answer = self._run("predict", *paths, longer=SLOWEST * count)
            answer.every("predictions", Predictions)
            self.device.pull(remote, result)
            return read_predictions(result, read_manifest(self.bundle).outputs, count, self.device.uri)

    def _run(self, verb: str, *arguments: str, accept: Sequence[str] = (), longer: float = 0.0) -> Answer:
        argv = [verb, self.device.push(self.bundle), *arguments]
        argv += [f"--batch={self.batch}"] if self.batch else []
        argv += [f"--threads={self.threads}"] if self.threads else []
        argv += [f"--affinity={self.affinity}"] if self.affinity is not None else []
        for key, value in (self.options or {}).items():
            argv.append(f"--option={key}={str(value).lower() if isinstance(value, bool) else value}")
        with runner_on(self.device, self.backend) as runner:
            finished = self.device.run([*runner, *argv], self.timeout + longer)
        answer = parse(finished, built=self.device.runner is not None)
        if not (answer.end.ok or answer.end.kind in accept):
            raise _failure(answer.end)
        return answer


def describe(device: Device, backend: str, model: Path) -> Tensors:
    """What a model file takes and gives, as a backend's runtime on a device lists it; `model` is the file there."""
    with runner_on(device, backend) as runner:
        answer = parse(device.run([*runner, "describe", str(model)], timeout=600.0))
    if not answer.end.ok:
        raise _failure(answer.end)
    return answer.every("tensors", Tensors)[0]


@contextmanager
def runner_on(device: Device, backend: str) -> Iterator[list[str]]:
    """Yield how to call a backend's runner on a device, by its Python or, where it has a runner of its own, by that."""
    if device.runner is not None:
        yield start_command(device.runner, device.push(device.runner.parent))
    else:
        with closing(open_device("local:")) as here:  # whose folder goes with this process, however that ends
            yield [device.python, device.push(write_runner(backend, Path(here.workspace)))]


def parse(finished: Finished, built: bool = False) -> Answer:
    """Records of a finished runner, `built` for one kind of processor or not; DeviceError without an `end` record."""
    records: dict[str, list[dict[str, Any]]] = {}
    for line in finished.stdout.split("\n"):
        record = _record(line)
        if record is not None:
            records.setdefault(record.pop("record"), []).append(record)
    if "end" not in records:
        started = bool(records) or not 0 < finished.code < KILLED
        what = "was lost" if started else "did not start, is it built for this processor?" if built else "did not start"
        raise DeviceError(f"the runner {what} (exit code {finished.code}){_last_words(finished.stderr)}")
    return Answer(records, _typed(End, records["end"][-1]))


def _record(line: str) -> dict[str, Any] | None:
    """A line's record, or None for what a login shell or a broken connection leaves between them."""
    try:
        with reading("the runner", "a record"):
            document = json.loads(line)
    except BadInputError:
        return None
    return document if isinstance(document, dict) and isinstance(document.get("record"), str) else None


def _typed(model: type[Record], record: Mapping[str, Any]) -> Record:
    try:
        return model.parse(dict(record), "the runner")
    except BadInputError as error:
        raise DeviceError(f"the runner speaks another protocol: {error}") from error


def _failure(end: End) -> BadInputError | DeviceError:
    message = end.error or "the runner failed without a reason"
    if end.kind == "bad-input":
        return BadInputError(message)
    return MissingRuntimeError(message) if end.kind == "missing-runtime" else DeviceError(message)


def _last_words(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return f": {lines[-1]}" if lines else ""
