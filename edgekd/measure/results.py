"""`results.jsonl`: one measured row per line, each complete in itself."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, NamedTuple

from pydantic import Field, PositiveInt

from edgekd.bundle import GOLDEN, Manifest
from edgekd.errors import BadInputError
from edgekd.files import digest, needs_room, write_bytes
from edgekd.locks import lock
from edgekd.measure.benchmark import Measurement
from edgekd.measure.difference import Difference
from edgekd.measure.facts import Machine
from edgekd.measure.protocol import Options
from edgekd.measure.records import Scenario
from edgekd.measure.statistics import Latency
from edgekd.measure.telemetry import Telemetry
from edgekd.metrics import Scale
from edgekd.reading import LINE, read_lines
from edgekd.schema import Milliseconds, Schema

SHA256 = r"^[0-9a-f]{64}$"
BLOCK = 1 << 16  # bytes
_BEGIN, _SEAL = b'{"format":', b',"sha256":"'
IDENTITY = ("runner", "inputs", "precision")


class Key(NamedTuple):
    """What was measured, and how."""

    target: str
    label: str
    batch: int
    threads: int
    scenario: Scenario
    affinity: tuple[int, ...] | None

    def __str__(self) -> str:
        cores = "" if self.affinity is None else f", cores {', '.join(map(str, self.affinity))}"
        offline = "" if self.scenario == "single-stream" else f", {self.scenario}"
        return f"{self.target} {self.label} (batch {self.batch}, threads {self.threads}{cores}{offline})"


class Row(Schema):
    """What was measured, of which artifact, with what, on what.

    `artifact` is the SHA-256 over the model's files, `runner` that of what timed it, `inputs` of the file with what it
    was fed; `precision` is what the runtime says of its float arithmetic. `metric` is in its unit (%: a fraction), and
    `difference` that of a device's answers from the host's. `samples` are ms, by replicate, in order. `missing` says
    why a number of the latency is absent, or not what it should be.
    """

    format: int = 1
    time: str
    machine: Machine
    target: str
    label: str
    backend: str
    runtime: str
    runtime_version: str
    options: dict[str, str | int | bool] = Field(default_factory=dict)
    artifact: str = Field(pattern=SHA256)
    runner: str | None = Field(default=None, pattern=SHA256)
    inputs: str | None = Field(default=None, pattern=SHA256)
    precision: str | None = None
    batch: PositiveInt
    threads: PositiveInt
    scenario: Scenario = "single-stream"
    affinity: tuple[int, ...] | None = None
    latency: Latency | None = None
    telemetry: Telemetry | None = None
    metric_name: str | None = None
    metric: float | None = None
    metric_better: Literal["higher", "lower"] = "higher"
    metric_unit: str = "%"
    difference: Difference | None = None
    samples: tuple[tuple[Milliseconds, ...], ...] = ()
    missing: dict[str, str] = Field(default_factory=dict)

    @property
    def scale(self) -> Scale:
        """Unit and direction of the metric."""
        return Scale(self.metric_name or "metric", better=self.metric_better, unit=self.metric_unit)

    @property
    def key(self) -> Key:
        """Rows of two files with equal keys measure the same thing."""
        return Key(self.target, self.label, self.batch, self.threads, self.scenario, self.affinity)

    @property
    def unidentified(self) -> tuple[str, ...]:
        """What a row of an older edgekd does not say, and without which it cannot be compared."""
        return tuple(name for name in IDENTITY if getattr(self, name) is None)


def row(manifest: Manifest, label: str, measurement: Measurement, options: Options | None = None) -> Row:
    """The row of a measurement."""
    first = measurement.replicates[0]
    start, details, timing = first.start, first.load.details, first.timing
    return Row(
        time=datetime.now(UTC).isoformat(timespec="seconds"), machine=measurement.machine,
        target=manifest.target, label=label, backend=manifest.backend,
        runtime=start.runtime, runtime_version=start.runtime_version,
        options={**manifest.runtime, **(options or {}), **details}, precision=details.get("precision", "not told"),
        artifact=artifact(manifest), runner=measurement.runner, inputs=manifest.files[GOLDEN].sha256,
        batch=timing.batch, threads=timing.threads, scenario=timing.scenario, affinity=timing.affinity,
        latency=measurement.latency, telemetry=measurement.telemetry, samples=measurement.samples,
        missing=_missing(measurement),
    )  # fmt: skip


def _missing(measurement: Measurement) -> dict[str, str]:
    cold = all(replicate.load.cold for replicate in measurement.replicates)
    reasons = {} if cold else {"cold_load": "the page cache could not be emptied: the first load is from memory"}
    return reasons | measurement.replicates[0].timing.missing


def artifact(manifest: Manifest) -> str:
    """Identity of a model: its own files (an IR has two), whatever else the bundle holds."""
    stem = PurePosixPath(manifest.model).with_suffix("")
    own = {name: file.sha256 for name, file in manifest.files.items() if PurePosixPath(name).with_suffix("") == stem}
    return digest(own)


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows at the end of a file, whoever else does; what a killed process left of its last line goes.

    Raises BadInputError for a file whose last line is open and was no row's.
    """
    _append(path, [_line(row) for row in rows])


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a file of rows, whole or not at all."""
    write_bytes(path, b"".join(_line(row) + b"\n" for row in rows))


def keep_rows(path: Path, rows: Iterable[Row]) -> int:
    """Append those rows that a file does not hold yet; return how many damaged lines it has lost for it."""
    lines = list(filter(None, path.read_bytes().split(b"\n"))) if path.is_file() else []
    intact = [line for line in lines if _is_row(line)]
    if len(intact) < len(lines):
        write_bytes(path, b"".join(line + b"\n" for line in intact))
    held = set(intact)
    missing = [line for row in rows if (line := _line(row)) not in held]
    if missing:
        _append(path, missing)
    return len(lines) - len(intact)


def _append(path: Path, lines: Sequence[bytes]) -> None:
    with needs_room(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as stream:
            lock(stream.fileno())  # released when it is closed
            begin = _end_of_last_line(stream)
            stream.seek(begin)
            last = stream.read(LINE + 1)
            if not (last.startswith(_BEGIN) or _BEGIN.startswith(last)):
                raise BadInputError(f"{path}: it holds something else than rows: name another file")
            whole = _is_row(last)
            if not whole:
                stream.truncate(begin)
            stream.write(b"".join([b"\n" * whole, *(line + b"\n" for line in lines)]))
            stream.flush()
            os.fsync(stream.fileno())


def _end_of_last_line(stream: BinaryIO) -> int:
    """Return the position after the last line break, sought from the end; 0 without one."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - BLOCK)
        stream.seek(start)
        found = stream.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def read_rows(path: Path) -> list[Row]:
    """Return all rows; errors as in `iterate_rows`."""
    return list(iterate_rows(path))


def iterate_rows(path: Path) -> Iterator[Row]:
    """Yield one row after the other, holding none; raise BadInputError naming the line that is not one, and why."""
    for number, line in read_lines(path):
        yield _row(line, f"{path}:{number}")


def _line(row: Row) -> bytes:
    """A row that ends with the digest of what is before it."""
    body = row.model_dump_json().encode()[:-1]
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}'


def _row(line: bytes, source: str) -> Row:
    """Rows that carry no digest, of an older edgekd or another hand, are taken as they are."""
    body, sealed, end = line.rstrip().rpartition(_SEAL)
    if not sealed:
        return Row.decode(line, source)
    if end != hashlib.sha256(body).hexdigest().encode() + b'"}':
        raise BadInputError(f"{source}: the row is damaged: its sha256 is another")
    return Row.decode(body + b"}", source)


def _is_row(line: bytes) -> bool:
    try:
        _row(line, "")
    except BadInputError:
        return False
    return True
