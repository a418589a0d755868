"""What stages record, as JSON: results that a later run reads again, and from which run.json is made."""

from typing import NotRequired, TypedDict

from pydantic import JsonValue


class NetworkRecord(TypedDict):
    """A network: its metric on the test split with the standard error, its size, and the task's other metrics by name.

    `val` is a trained one's metric on the validation split, `agreement` a student's with its teacher.
    """

    test: float
    error: float
    parameters: int
    macs: int
    others: dict[str, float]
    val: NotRequired[float]
    agreement: NotRequired[float]


class GraphRecord(TypedDict):
    """A graph: its metric on the test split, by the reference."""

    test: float


class QuantizedRecord(GraphRecord):
    """And what was kept in float for it, and what each layer loses."""

    kept: list[str]
    layers: list[dict[str, JsonValue]]


class PictureRecord(TypedDict):
    """A test sample that was drawn, and what the answer in int8 is worth alone."""

    sample: int
    metric: float


class StageEntry(TypedDict):
    """A stage that a run went through: how long it took, whether that was now, and by what."""

    name: str
    seconds: float
    state: str
    commit: str | None
    dirty: bool
    versions: dict[str, str]


class ScoresDocument(TypedDict):
    """A number over seeds, as `run_record.Scores`."""

    mean: float
    std: float | None
    seeds: list[float]


class NetworkDocument(TypedDict):
    """A network in run.json, as `run_record.Network`."""

    metric: ScoresDocument
    parameters: int
    macs: int
    name: NotRequired[str]
    checkpoint: NotRequired[str | None]
    chance: NotRequired[float]
    may_be_chance: NotRequired[bool]


class Bought(TypedDict):
    """What teaching bought: four keys of run.json."""

    teacher: NetworkDocument
    student_scratch: NotRequired[NetworkDocument]
    student: NetworkDocument
    distillation: dict[str, object]


class VariantDocument(TypedDict):
    """A variant of a target, as `run_record.Variant`; `broken` says why it is not to be shipped."""

    bytes: int
    metric: float
    latency_ms: dict[str, object] | None
    val: NotRequired[float]
    broken: NotRequired[str | None]


class TargetDocument(TypedDict, total=False):
    """What became of a target, as `run_record.TargetRecord`."""

    backend: str
    scheme: str
    device: str | None
    status: str
    reason: str | None
    lost: bool
    again: bool
    metric: float
    metric_source: str
    variants: dict[str, VariantDocument]
    int8_pays: bool | None
    best: str | None
    advice: str | None
    notes: list[str]
    footprint: dict[str, int]
    kernels: "KernelsDocument"
    parity: list[dict[str, object]]
    layers: dict[str, object] | None
    telemetry: dict[str, object] | None


class KernelsDocument(TypedDict):
    """How many kernels compute in int8, of how many."""

    int8: int | None
    total: int | None
