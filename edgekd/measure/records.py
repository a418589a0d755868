"""The runner's records, one per line of its output; `edgekd/runner` writes them, and so does `export/c`.

A device may say anything: every number has a range, and what lies outside it is not believed.
"""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from edgekd.schema import Amount, Count, Megabytes, Milliseconds, Positive, Schema, Share

Scenario = Literal["single-stream", "offline"]


class Start(Schema):
    """Who answers: written once the bundle is checked and its runtime loaded. The C runner has no `python`."""

    pid: Count
    format: Count
    bundle: str
    backend: str
    precision: str
    runtime: str
    runtime_version: str
    python: str | None
    machine: dict[str, str | int | None]


class Version(Schema):
    """What a device's own runner runs bundles with: its answer to `--version`, a record for each `backend` it knows.

    The C runner has one and does not name it. A runtime that is not there has no version; `get` says how to get it.
    """

    runtime: str
    runtime_version: str | None
    backend: str | None = None
    get: str = ""

    @property
    def found(self) -> str | None:
        """The runtime with its version; None where it is not there."""
        return f"{self.runtime} {self.runtime_version}" if self.runtime_version else None


class Described(Schema):
    """A tensor of a model file that no bundle describes; None in `shape` is free."""

    name: str
    dtype: str
    shape: tuple[Count | None, ...]
    scale: Positive | None = None
    zero_point: int | None = None


class Tensors(Schema):
    """What a model file takes and gives, as its runtime lists them."""

    inputs: tuple[Described, ...]
    outputs: tuple[Described, ...] = Field(min_length=1)


class KernelTime(Schema):
    """One executed kernel and its µs per inference; `layer` is None for what the runtime added by itself.

    `weights` is how many it reads, which no layout changes; None where it has none, or the runtime does not tell.
    """

    name: str
    layer: str | None
    kernel: str
    precision: str | None
    placement: str
    us: Amount
    weights: PositiveInt | None = None


class ProfileRecord(Schema):
    """Every kernel of a model in order, and the latency of the whole when nobody counts; `source` told the times."""

    source: str
    batch: PositiveInt
    threads: PositiveInt
    runs: PositiveInt
    latency_us: Positive
    kernels: tuple[KernelTime, ...] = Field(min_length=1)


class Load(Schema):
    """Milliseconds to make the model ready for the first time in a process, and what the runtime chose by itself.

    `cold` says whether the bundle's files had left the page cache before; None where nobody asked for it or can tell.
    """

    ms: Milliseconds
    cold: bool | None = None
    details: dict[str, str] = Field(default_factory=dict)


class Kernels(Schema):
    """How many of the convolution- and matmul-like kernels compute in int8; None where a runtime does not tell.

    `delegated` counts the operators, of any kind, that a delegate took, `fallback` those that it left to the runtime.
    `warning` says why they may compute wrongly on this CPU.
    """

    int8: Count | None
    total: Count | None
    how: str
    ops: dict[str, Count]
    delegated: Count | None = None
    fallback: Count | None = None
    warning: str | None = None

    @model_validator(mode="after")
    def _some_of_all(self) -> Self:
        if (self.int8 or 0) > (self.total or 0):
            raise ValueError(f"{self.int8} int8 kernels of {self.total}")
        return self


class Golden(Schema):
    """One output against the reference, in steps; None where outputs were not finite or nothing was to be decided.

    `drift` is the distance as a multiple of the reference's own from the float model, where the bundle knows that.
    `unproven` says why golden outputs prove nothing; such a row is not ok.
    """

    output: str
    max_steps: Amount | None
    p999_steps: Amount | None
    argmax_agreement: Share | None
    drift: Amount | None = None
    unproven: str | None = None
    ok: bool


class Timing(Schema):
    """One process's latencies in ms: the first inference, then every timed one in order. Memory is in 10^6 bytes.

    Offline, a sample is the time per batch while several may be under way, so that its inverse is the throughput. Where
    a clock is too coarse, as a browser's may be, a sample is the mean of a `block` of inferences.

    `warm_load_ms` is what loading the model a second time took, `model_rss_mb` by how much loading and the first
    inferences raised the process's memory above what it held with the runtime imported. `involuntary_switches` counts
    how often it lost a CPU while it was timed. What is None has its reason in `missing`, unless the runner is an older
    one.
    """

    first_ms: Milliseconds
    samples_ms: tuple[Milliseconds, ...] = Field(min_length=1)
    block: PositiveInt = 1
    cpu_ms_min: Amount | None
    load_average: Amount | None
    peak_rss_mb: Megabytes | None
    model_rss_mb: Megabytes | None = None
    warm_load_ms: Milliseconds | None = None
    involuntary_switches: Count | None = None
    batch: PositiveInt
    threads: PositiveInt
    scenario: Scenario = "single-stream"
    affinity: tuple[Count, ...] | None = None
    missing: dict[str, str] = Field(default_factory=dict)


class Footprint(Schema):
    """What a model takes of a device that the runner stands in for: flash, RAM, what a chip's compiler prepared for it,
    multiply-accumulates, an NPU's cycles.

    Those are the compiler's estimate, without the operators that it left to the CPU.
    """

    arena_bytes: Count | None = None
    sram_bytes: Count | None = None
    flash_bytes: Count | None = None
    context_bytes: Count | None = None
    macs: Count | None = None
    npu_cycles_estimate: Count | None = None
    cpu_ops: Count | None = None


class Predictions(Schema):
    """Where the outputs lie on the device, and for how many samples."""

    path: str
    n: PositiveInt


class End(Schema):
    """The only proof that a run succeeded."""

    ok: bool
    error: str | None = None
    kind: str | None = None
