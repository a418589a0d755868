"""The runner's records, one per line of its output; `export/run.py` writes them."""

from pydantic import Field

from edgekd.schema import Schema


class Start(Schema):
    """Who answers: written once the bundle is checked and its runtime imported."""

    pid: int
    format: int
    bundle: str
    backend: str
    precision: str
    runtime: str
    runtime_version: str
    python: str
    machine: dict[str, str | int | None]


class Load(Schema):
    """Milliseconds to make the model ready, and what the runtime chose by itself."""

    ms: float
    details: dict[str, str] = Field(default_factory=dict)


class Kernels(Schema):
    """How many of the convolution- and matmul-like kernels compute in int8; None where a runtime does not tell.

    `warning` says why they may compute wrongly on this CPU.
    """

    int8: int | None
    total: int | None
    how: str
    ops: dict[str, int]
    warning: str | None = None


class Golden(Schema):
    """One output against the reference, in steps; None where outputs were not finite or nothing was to be decided.

    `drift` is the distance as a multiple of the reference's own from the float model, where the bundle knows that.
    """

    output: str
    max_steps: float | None
    p999_steps: float | None
    argmax_agreement: float | None
    drift: float | None = None
    ok: bool


class Timing(Schema):
    """One process's latencies in ms: the first inference, then every timed one in order. Memory is in 10^6 bytes."""

    first_ms: float
    samples_ms: tuple[float, ...] = Field(min_length=1)
    cpu_ms_min: float
    load_average: float | None
    peak_rss_mb: float | None
    batch: int
    threads: int


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
