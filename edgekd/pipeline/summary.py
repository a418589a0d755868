"""run.json: what a run found, over its seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from edgekd.data.dataset import Dataset
from edgekd.files import digest
from edgekd.pipeline.documents import (
    Bought,
    GraphRecord,
    NetworkDocument,
    NetworkRecord,
    PictureRecord,
    QuantizedRecord,
    ScoresDocument,
    StageEntry,
)
from edgekd.pipeline.origin import origin, versions
from edgekd.pipeline.tax import Scored, distillation, may_be_chance, over_seeds
from edgekd.recipe import Recipe
from edgekd.reporting.run_record import RunRecord, Scores, TargetRecord

FLOAT_GRAPH = "onnx/float.onnx"
_WORSE = {"failed": 3, "fallback": 2, "unverified": 1, "skipped": 1}


@dataclass(frozen=True)
class SeedResult:
    """What one seed's stages recorded; `graph` is the float graph's, `targets` holds run.json's entry for each."""

    seed: int
    scratch: NetworkRecord
    student: NetworkRecord
    graph: GraphRecord
    quantized: dict[str, QuantizedRecord]
    targets: dict[str, TargetRecord]
    pictures: list[PictureRecord] = field(default_factory=list)


def summarise(
    recipe: Recipe,
    data: Dataset,
    methods: Sequence[Mapping[str, JsonValue]],
    teachers: Sequence[NetworkRecord],
    seeds: Sequence[SeedResult],
    machine: Mapping[str, JsonValue],
    stages: Sequence[StageEntry],
) -> RunRecord:
    """Return what a run found, over its seeds.

    `methods` are the recipe's, with every parameter; `teachers` what each of the recipe's teachers recorded.
    """
    learned = bought(data, teachers[0], [result.scratch for result in seeds], [result.student for result in seeds])
    learned["distillation"] |= {"methods": list(methods)} | recipe.model_dump(mode="json", include={"cross_entropy"})
    document: dict[str, object] = {
        "name": recipe.name,
        "title": recipe.title or recipe.name,
        "machine": machine,
        "versions": versions(),
        "seeds": [result.seed for result in seeds],
        "recipe_sha256": recipe_digest(recipe),
        "git_commit": origin().commit,
        **scales(data),
        "max_drop": recipe.quantization.max_drop,
        "data": {
            "name": data.name, "train": len(data.train), "val": len(data.val), "test": len(data.test),
            "classes": len(data.classes), "unit": data.group_size,
        },
        **learned,
        "float": _float(seeds),
        "quantized": {
            scheme: {
                "metric": over_seeds([result.quantized[scheme]["test"] for result in seeds]),
                "kept": record["kept"],
                "layers": record["layers"],
            }
            for scheme, record in seeds[0].quantized.items()
        },
        "targets": {name: target_over(name, seeds).document() for name in seeds[0].targets},
        "pictures": seeds[0].pictures,
        "stages": stages,
    }  # fmt: skip
    return RunRecord.of(document | ({"teachers": _teachers(recipe, teachers)} if len(teachers) > 1 else {}))


def bought(
    data: Dataset, teacher: NetworkRecord, scratch: Sequence[NetworkRecord], student: Sequence[NetworkRecord]
) -> Bought:
    """run.json's `teacher`, `student_scratch` (if there is one), `student` and `distillation`, from records by seed."""
    distilled = distillation(
        data.metric, _scored(teacher), [_scored(record) for record in scratch], [record["test"] for record in student],
        [record["agreement"] for record in student],
    )  # fmt: skip
    models: dict[str, Sequence[NetworkRecord]] = {"teacher": [teacher], "scratch": scratch, "student": student}
    for other in data.task.metrics[1:]:
        distilled[other.name] = {
            name: over_seeds([record["others"][other.name] for record in records])
            for name, records in models.items()
            if records
        }
    level, error = data.task.chance(data.test.labels)
    taught: NetworkDocument = {
        **_model([teacher]), "chance": level,
        "may_be_chance": may_be_chance(data.metric, teacher["test"], level, error),
    }  # fmt: skip
    if not scratch:
        return {"teacher": taught, "student": _model(student), "distillation": distilled}
    return {
        "teacher": taught, "student_scratch": _model(scratch), "student": _model(student), "distillation": distilled,
    }  # fmt: skip


def scales(data: Dataset) -> dict[str, object]:
    """run.json's `metric_name`, and the scale of that and of the task's other metrics."""
    deciding, *others = (metric.describe() for metric in data.task.metrics)
    return {"metric_name": deciding["name"], "metric_scale": deciding, "other_scales": others}


def _scored(record: NetworkRecord) -> Scored:
    return Scored(record["test"], record["error"])


def _model(records: Sequence[NetworkRecord]) -> NetworkDocument:
    first = records[0]
    return {
        "metric": over_seeds([record["test"] for record in records]),
        "parameters": first["parameters"],
        "macs": first["macs"],
    }


def _teachers(recipe: Recipe, records: Sequence[NetworkRecord]) -> list[NetworkDocument]:
    return [
        {"name": model.model, "checkpoint": model.checkpoint, **_model([record])}
        for model, record in zip(recipe.teachers, records, strict=True)
    ]


def _float(seeds: Sequence[SeedResult]) -> dict[str, object]:
    """The float graph by the reference; `difference` is the largest of any seed from the network that was trained."""
    differences = [result.graph["test"] - result.student["test"] for result in seeds]
    return {
        "metric": over_seeds([result.graph["test"] for result in seeds]),
        "difference": max(differences, key=abs),
        "path": FLOAT_GRAPH,
    }


def target_over(name: str, seeds: Sequence[SeedResult]) -> TargetRecord:
    """The first seed's record, with metrics over all seeds; the worst status of any seed is the target's."""
    entries = [result.targets[name] for result in seeds]
    failed = max(seeds, key=lambda result: _WORSE.get(result.targets[name].status, 0))  # of equals the first
    entry = failed.targets[name]
    merged: dict[str, object] = {
        key: value for key, value in entry.document().items() if key not in ("metric", "variants")
    }
    if failed is not seeds[0]:
        merged["reason"] = f"seed {failed.seed}: {entry.reason}"
    if all(other.metric is not None for other in entries):
        merged["metric"] = _over_seeds([other.metric for other in entries])
        columns = zip(*(other.variants.values() for other in entries), strict=True)
        merged["variants"] = {  # by the place: only a timed seed knows what `default` means
            label: {**entry.variants[label].document(), "metric": _over_seeds([row.metric for row in rows])}
            for label, rows in zip(entry.variants, columns, strict=True)
        }
    return TargetRecord.parse(merged, name)


def _over_seeds(metrics: Sequence[Scores | float | None]) -> ScoresDocument:
    return over_seeds([metric for metric in metrics if isinstance(metric, float)])


def recipe_digest(recipe: Recipe) -> str:
    """Identity of what was asked for."""
    return digest(recipe.model_dump(mode="json"))
