"""`run.json`: what a run found, over its seeds; the pipeline writes it, reports are made of it.

What is absent was not looked at: a target that nothing executed has no parity, a run without targets no `targets`.
Whatever is added has a default, so that older records of the schema stay readable.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from edgekd.backends.layer_proof import LayerProof
from edgekd.backends.parity import Parity
from edgekd.bundle import LayerLoss
from edgekd.errors import BadInputError
from edgekd.measure.statistics import Latency
from edgekd.measure.telemetry import Telemetry
from edgekd.metrics import Scale
from edgekd.reading import read_json
from edgekd.recipe import Ramp
from edgekd.reporting import RUN
from edgekd.schema import Amount, Count, Schema
from edgekd.screen import visible_document

SCHEMA = 2


class Part(Schema):
    """Whatever the record is made of."""

    def document(self) -> dict[str, JsonValue]:
        """As JSON: what was set, in the order of the schema."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Scores(Part):
    """A number over seeds: its mean, its sample standard deviation (None for one seed), and each seed's own."""

    mean: float
    std: float | None = None
    seeds: tuple[float, ...] = ()


class Network(Part):
    """A network's metric and size. A teacher may be no better than `chance`."""

    metric: Scores
    parameters: Count
    macs: Count | None = None
    name: str | None = None
    checkpoint: str | None = None
    chance: float | None = None
    may_be_chance: bool | None = None


class DataFacts(Part):
    """The data set: samples by split, of which `unit` belong together."""

    name: str
    train: Count
    val: Count
    test: Count
    classes: Count
    unit: PositiveInt = 1


class FloatGraph(Part):
    """The exported float graph by the reference, and how far that is from the network that was trained."""

    metric: Scores
    difference: float
    path: str


class Quantized(Part):
    """A scheme's graph by the reference; `kept` are the layers that stayed in float."""

    metric: Scores
    kept: tuple[str, ...] = ()
    layers: tuple[LayerLoss, ...] = ()


class KernelCount(Part):
    """How many of the convolution- and matmul-like kernels compute in int8."""

    int8: Count | None
    total: Count | None


class Variant(Part):
    """One precision of a target: of a single seed its metric is a number. `broken` says why it is not to be shipped."""

    bytes: Count | None = None
    val: float | None = None
    metric: Scores | float | None = None
    broken: str | None = None
    latency_ms: Latency | None = None


class TargetRecord(Part):
    """What became of a target.

    `lost` (its device was) and `again` (the same command would try once more) are for the run that made it, and are not
    written.
    """

    backend: str
    status: Literal["ok", "unverified", "skipped", "failed", "fallback"]
    scheme: str | None = None
    device: str | None = None
    reason: str | None = None
    lost: bool = Field(default=False, exclude=True)
    again: bool = Field(default=False, exclude=True)
    metric: Scores | float | None = None
    metric_source: Literal["device", "reference"] | None = None
    variants: dict[str, Variant] = Field(default_factory=dict)
    int8_pays: bool | None = None
    best: str | None = None
    advice: str | None = None
    notes: tuple[str, ...] = ()
    footprint: dict[str, Count] = Field(default_factory=dict)
    kernels: KernelCount | None = None
    parity: tuple[Parity, ...] = ()
    layers: LayerProof | None = None
    telemetry: Telemetry | None = None


class Distillation(Part):
    """What teaching bought, by which methods, every parameter of theirs with them; other keys are `others`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, Scores]]

    tax: float | None = None
    tax_std: float | None = None
    gap_recovered: float | None = None
    gap_recovered_std: float | None = None
    agreement: float | None = None
    agreement_std: float | None = None
    reason: str | None = None
    methods: tuple[dict[str, JsonValue], ...] = ()
    cross_entropy: Amount | Ramp | None = None

    @property
    def others(self) -> Mapping[str, Mapping[str, Scores]]:
        """The task's other metrics by name, each of `teacher`, `scratch` and `student`."""
        return self.__pydantic_extra__

    @model_serializer(mode="wrap")
    def _methods_last(self, serialise: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        document: dict[str, JsonValue] = serialise(self)
        taught = {key: document.pop(key) for key in ("methods", "cross_entropy") if key in document}
        return document | taught


class Picture(Part):
    """A test sample whose labels and answers are drawn: its number, and what the answer in int8 is worth alone."""

    sample: Count
    metric: float


class StageRecord(Part):
    """One stage: how long it took when it was computed, whether that was now, and by what."""

    name: str
    seconds: Amount
    state: Literal["fresh", "cached", "reused"]
    commit: str | None = None
    dirty: bool = False
    versions: dict[str, str] = Field(default_factory=dict)


class RunRecord(Part):
    """The whole document. Without `other_scales` it is of the time when a classifier's calibration was the only one."""

    schema_: Literal[2] = Field(alias="schema")
    name: str = ""
    title: str = ""
    machine: dict[str, JsonValue] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    seeds: tuple[Count, ...] = ()
    recipe_sha256: str | None = None
    git_commit: str | None = None
    metric_name: str | None = None
    metric_scale: Scale | None = None
    other_scales: tuple[Scale, ...] = (Scale("calibration_error", better="lower"),)
    max_drop: Amount | None = None
    data: DataFacts | None = None
    teacher: Network | None = None
    teachers: tuple[Network, ...] = ()
    student_scratch: Network | None = None
    student: Network | None = None
    distillation: Distillation | None = None
    float: FloatGraph | None = None
    quantized: dict[str, Quantized] = Field(default_factory=dict)
    targets: dict[str, TargetRecord] = Field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()
    stages: tuple[StageRecord, ...] = ()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The record of a document that edgekd made itself."""
        return cls.parse({"schema": SCHEMA, **document}, RUN)


def read_run(path: Path) -> RunRecord:
    """Read a run's record; BadInputError for another schema, with what to do, and for what is damaged."""
    document = visible_document(read_json(path))
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        told = f"of schema {found}" if isinstance(found, int) else "no record of a finished run"
        again = "make it again by `edgekd run RECIPE`, which keeps its stages"
        raise BadInputError(f"{path}: {told}, and this edgekd reads schema {SCHEMA}: {again}")
    return RunRecord.parse(document, str(path))
