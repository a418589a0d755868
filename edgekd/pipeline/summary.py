"""run.json: what a run found, over its seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgekd.data.dataset import Dataset
from edgekd.files import digest
from edgekd.pipeline.origin import origin, versions
from edgekd.pipeline.tax import Scored, distillation, may_be_chance, over_seeds
from edgekd.recipe import Recipe
from edgekd.reporting.run_record import RunRecord, Scores, TargetRecord

Record = Mapping[str, Any]  # what a stage recorded of a network
FLOAT_GRAPH = "onnx/float.onnx"
_WORSE = {"failed": 3, "fallback": 2, "unverified": 1, "skipped": 1}


@dataclass(frozen=True)
class SeedResult:
    """What one seed's stages recorded; `graph` is the float graph's, `targets` holds run.json's entry for each."""

    seed: int
    scratch: dict[str, Any]
    student: dict[str, Any]
    graph: dict[str, Any]
    quantized: dict[str, dict[str, Any]]
    targets: dict[str, TargetRecord]
    pictures: list[dict[str, Any]] = field(default_factory=list)


def summarise(
    recipe: Recipe,
    data: Dataset,
    methods: Sequence[Record],
    teachers: Sequence[Record],
    seeds: Sequence[SeedResult],
    machine: Any,
    stages: list[dict[str, Any]],
) -> RunRecord:
    """Return what a run found, over its seeds.

    `methods` are the recipe's, with every parameter; `teachers` what each of the recipe's teachers recorded.
    """
    learned = bought(data, teachers[0], [result.scratch for result in seeds], [result.student for result in seeds])
    learned["distillation"] |= {"methods": list(methods)} | recipe.model_dump(mode="json", include={"cross_entropy"})
    document: dict[str, Any] = {
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


def bought(data: Dataset, teacher: Record, scratch: Sequence[Record], student: Sequence[Record]) -> dict[str, Any]:
    """run.json's `teacher`, `student_scratch` (if there is one), `student` and `distillation`, from records by seed."""
    distilled = distillation(
        data.metric, _scored(teacher), [_scored(record) for record in scratch], [record["test"] for record in student],
        [record["agreement"] for record in student],
    )  # fmt: skip
    models = {"teacher": [teacher], "scratch": scratch, "student": student}
    for other in data.task.metrics[1:]:
        distilled[other.name] = {
            name: over_seeds([record["others"][other.name] for record in records])
            for name, records in models.items()
            if records
        }
    level, error = data.task.chance(data.test.labels)
    doubt = {"chance": level, "may_be_chance": may_be_chance(data.metric, teacher["test"], level, error)}
    entries = {"teacher": _model([teacher]) | doubt} | ({"student_scratch": _model(scratch)} if scratch else {})
    return entries | {"student": _model(student), "distillation": distilled}


def scales(data: Dataset) -> dict[str, Any]:
    """run.json's `metric_name`, and the scale of that and of the task's other metrics."""
    deciding, *others = (metric.describe() for metric in data.task.metrics)
    return {"metric_name": deciding["name"], "metric_scale": deciding, "other_scales": others}


def _scored(record: Record) -> Scored:
    return Scored(record["test"], record["error"])


def _model(records: Sequence[Record]) -> dict[str, Any]:
    first = records[0]
    return {
        "metric": over_seeds([record["test"] for record in records]),
        "parameters": first["parameters"],
        "macs": first["macs"],
    }


def _teachers(recipe: Recipe, records: Sequence[Record]) -> list[dict[str, Any]]:
    return [
        {"name": model.model, "checkpoint": model.checkpoint} | _model([record])
        for model, record in zip(recipe.teachers, records, strict=True)
    ]


def _float(seeds: Sequence[SeedResult]) -> dict[str, Any]:
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
    merged = {key: value for key, value in entry.document().items() if key not in ("metric", "variants")}
    if failed is not seeds[0]:
        merged["reason"] = f"seed {failed.seed}: {entry.reason}"
    if all(other.metric is not None for other in entries):
        merged["metric"] = _over_seeds([other.metric for other in entries])
        columns = zip(*(other.variants.values() for other in entries), strict=True)
        merged["variants"] = {  # by the place: only a timed seed knows what `default` means
            label: entry.variants[label].document() | {"metric": _over_seeds([row.metric for row in rows])}
            for label, rows in zip(entry.variants, columns, strict=True)
        }
    return TargetRecord.parse(merged, name)


def _over_seeds(metrics: Sequence[Scores | float | None]) -> dict[str, Any]:
    return over_seeds([metric for metric in metrics if isinstance(metric, float)])


def recipe_digest(recipe: Recipe) -> str:
    """Identity of what was asked for."""
    return digest(recipe.model_dump(mode="json"))
