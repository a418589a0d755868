"""The runner's records, one per line of its output; `export/run.py` writes them, and so does `export/c`."""

from typing import Literal

from pydantic import Field

from edgekd.schema import Schema

Scenario = Literal["single-stream", "offline"]


class Start(Schema):
    """Who answers: written once the bundle is checked and its runtime loaded. The C runner has no `python`."""

    pid: int
    format: int
    bundle: str
    backend: str
    precision: str
    runtime: str
    runtime_version: str
    python: str | None
    machine: dict[str, str | int | None]


class Version(Schema):
    """What the C runner runs bundles with: its answer to `--version`."""

    runtime: str
    runtime_version: str


class Load(Schema):
    """Milliseconds to make the model ready for the first time in a process, and what the runtime chose by itself.

    `cold` says whether the bundle's files had left the page cache before; None where nobody asked for it or can tell.
    """

    ms: float
    cold: bool | None = None
    details: dict[str, str] = Field(default_factory=dict)


class Kernels(Schema):
    """How many of the convolution- and matmul-like kernels compute in int8; None where a runtime does not tell.

    `delegated` counts the operators, of any kind, that a delegate took, `fallback` those that it left to the runtime.
    `warning` says why they may compute wrongly on this CPU.
    """

    int8: int | None
    total: int | None
    how: str
    ops: dict[str, int]
    delegated: int | None = None
    fallback: int | None = None
    warning: str | None = None


class Golden(Schema):
    """One output against the reference, in steps; None where outputs were not finite or nothing was to be decided.

    `drift` is the distance as a multiple of the reference's own from the float model, where the bundle knows that.
    `unproven` says why golden outputs prove nothing; such a row is not ok.
    """

    output: str
    max_steps: float | None
    p999_steps: float | None
    argmax_agreement: float | None
    drift: float | None = None
    unproven: str | None = None
    ok: bool


class Timing(Schema):
    """One process's latencies in ms: the first inference, then every timed one in order. Memory is in 10^6 bytes.

    Offline, a sample is the time per batch while several may be under way, so that its inverse is the throughput.

    `warm_load_ms` is what loading the model a second time took, `model_rss_mb` by how much loading and the first
    inferences raised the process's memory above what it held with the runtime imported. `involuntary_switches` counts
    how often it lost a CPU while it was timed. What is None has its reason in `missing`, unless the runner is an older
    one.
    """

    first_ms: float
    samples_ms: tuple[float, ...] = Field(min_length=1)
    cpu_ms_min: float
    load_average: float | None
    peak_rss_mb: float | None
    model_rss_mb: float | None = None
    warm_load_ms: float | None = None
    involuntary_switches: int | None = None
    batch: int
    threads: int
    scenario: Scenario = "single-stream"
    affinity: tuple[int, ...] | None = None
    missing: dict[str, str] = Field(default_factory=dict)


class Footprint(Schema):
    """What a model takes of a microcontroller that the runner stands in for: RAM, flash, multiply-accumulates."""

    arena_bytes: int
    flash_bytes: int
    macs: int | None = None


class Predictions(Schema):
    """Where the outputs lie on the device, and for how many samples."""

    path: str
    n: int


class End(Schema):
    """The only proof that a run succeeded."""

    ok: bool
    error: str | None = None
    kind: str | None = None
