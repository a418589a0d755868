"""A bundle on a device: run the runner there, in a process of its own, and believe nothing but its `end` record."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
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
from edgekd.runner.cli import THEN
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
class Checked:
    """What a bundle does on a device; `outputs` fetches those at a batch size from there."""

    golden: tuple[Golden, ...]
    kernels: Kernels
    outputs: Callable[[int], dict[str, Array]]


@dataclass(frozen=True)
class _Command:
    """What a runner is asked: failures that are answers, and seconds that it may take longer than others."""

    verb: str
    arguments: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    longer: float = 0.0


BUILD, VERIFY = _Command("build"), _Command("verify", accept=("mismatch", "not-proven"))


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
        return self._run(BUILD)[0].every("kernels", Kernels)[0]

    def verify(self) -> tuple[Golden, ...]:
        """Golden parity, one verdict per output."""
        return self._run(VERIFY)[0].every("golden", Golden)

    def check(self, inputs: Mapping[str, Array] | None = None, batches: Sequence[int] = ()) -> Checked:
        """Both of these, and outputs as `predict` gives them at each batch size: by one process, if the device can."""
        count = _count(inputs or {})
        with self._sent(inputs) if inputs and batches else nullcontext("") as source:
            asked = [self._predicting(source, _outputs(batch), count, f"--batch={batch}") for batch in batches]
            verified, built, *predicted = self._run(VERIFY, BUILD, *asked)
        for answer in predicted:
            answer.every("predictions", Predictions)
        golden, kernels = verified.every("golden", Golden), built.every("kernels", Kernels)[0]
        return Checked(golden, kernels, lambda batch: self._fetched(_outputs(batch), count))

    def bench(self, seconds: float = 1.0, count: int = 50, scenario: Scenario = "single-stream") -> Replicate:
        """Latencies of one fresh process, for at least `seconds` and `count` inferences."""
        offline = [] if scenario == "single-stream" else ["--scenario", scenario]
        least, patience = (f"--seconds={seconds}", f"--count={count}"), 10 * seconds + SLOWEST * count
        (answer,) = self._run(_Command("bench", (*least, *offline), longer=patience))
        timing, batch = answer.every("latency", Timing)[0], self.batch or read_manifest(self.bundle).batch
        if timing.batch != batch:
            raise DeviceError(f"the runner timed batch {timing.batch}, where {batch} was asked for")
        return Replicate(answer.every("start", Start)[0], answer.every("load", Load)[0], timing)

    def profile(self, runs: int) -> ProfileRecord:
        """What each kernel takes; BadInputError where the runtime does not tell."""
        profiled = _Command("profile", (f"--runs={runs}",), longer=3 * SLOWEST * runs)
        return self._run(profiled)[0].every("profile", ProfileRecord)[0]

    def footprint(self) -> Footprint:
        """What the model takes of a device that cannot be timed here."""
        return self._run(_Command("bench"))[0].every("footprint", Footprint)[0]

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, samples first; inputs and outputs are in the bundle's own types and layout.

        Raises DeviceError for outputs that are not the manifest's.
        """
        count = _count(inputs)
        with self._sent(inputs) as source:
            (answer,) = self._run(self._predicting(source, "outputs.npz", count))
        answer.every("predictions", Predictions)
        return self._fetched("outputs.npz", count)

    @contextmanager
    def _sent(self, inputs: Mapping[str, Array]) -> Iterator[str]:
        """Yield where inputs are on the device."""
        with closing(open_device("local:")) as here:  # whose folder goes with this process, however that ends
            source = Path(here.workspace) / "inputs.npz"
            write_arrays(source, inputs)
            yield self.device.push(source)

    def _predicting(self, source: str, name: str, count: int, *arguments: str) -> _Command:
        paths = "--input", source, "--output", f"{self.device.workspace}/{name}"
        return _Command("predict", (*paths, *arguments), longer=SLOWEST * count)

    def _fetched(self, name: str, count: int) -> dict[str, Array]:
        with closing(open_device("local:")) as here:
            result = Path(here.workspace) / name
            self.device.pull(f"{self.device.workspace}/{name}", result)
            return read_predictions(result, read_manifest(self.bundle).outputs, count, self.device.uri)

    def _run(self, *commands: _Command) -> list[Answer]:
        """An answer to each command; of a runner that takes one at a time, in as many runs."""
        groups = [[command] for command in commands] if self.device.runner is not None else [list(commands)]
        with runner_on(self.device, self.backend) as runner:
            return [answer for group in groups for answer in self._answers(runner, group)]

    def _answers(self, runner: Sequence[str], commands: Sequence[_Command]) -> Iterator[Answer]:
        argv = [word for command in commands for word in (THEN, *self._argv(command))]
        finished = self.device.run([*runner, *argv[1:]], sum(self.timeout + command.longer for command in commands))
        found = parse_all(finished, built=self.device.runner is not None)
        for command, answer in zip(commands, found, strict=False):
            if not (answer.end.ok or answer.end.kind in command.accept):
                raise _failure(answer.end)
            yield answer

    def _argv(self, command: _Command) -> list[str]:
        argv = [command.verb, self.device.push(self.bundle)]
        argv += [f"--batch={self.batch}"] if self.batch else []
        argv += [f"--threads={self.threads}"] if self.threads else []
        argv += [f"--affinity={self.affinity}"] if self.affinity is not None else []
        for key, value in (self.options or {}).items():
            argv.append(f"--option={key}={str(value).lower() if isinstance(value, bool) else value}")
        return [*argv, *command.arguments]


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
    return next(parse_all(finished, built))


def parse_all(finished: Finished, built: bool = False) -> Iterator[Answer]:
    """The same of one that was asked for more, up to each `end` record; DeviceError for the first that is missing."""
    records: dict[str, list[dict[str, Any]]] = {}
    found = filter(None, map(_record, finished.stdout.split("\n")))
    started = not 0 < finished.code < KILLED
    for record in found:
        started, kind = True, record.pop("record")
        records.setdefault(kind, []).append(record)
        if kind == "end":
            yield Answer(records, _typed(End, record))
            records = {}
    what = "was lost" if started else "did not start, is it built for this processor?" if built else "did not start"
    raise DeviceError(f"the runner {what} (exit code {finished.code}){_last_words(finished.stderr)}")


def _count(inputs: Mapping[str, Array]) -> int:
    return max(map(len, inputs.values()), default=0)


def _outputs(batch: int) -> str:
    return f"outputs-{batch}.npz"


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
