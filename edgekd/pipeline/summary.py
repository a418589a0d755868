"""run.json: what a run found, over its seeds."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import mean, stdev
from typing import Any

import edgekd
from edgekd.data.dataset import Dataset
from edgekd.files import digest
from edgekd.recipe import Recipe

SCHEMA = 1
METRIC = "accuracy"
_PACKAGES = ("edgekd", "torch", "onnx", "onnxruntime", "openvino", "ai-edge-litert", "tensorrt-rtx", "numpy")
# Of a claim about two accuracies on n samples; below it teacher and scratch cannot be told apart.
LEAST_STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class SeedResult:
    """What one seed's stages recorded; `targets` holds one entry of run.json per target."""

    seed: int
    scratch: dict[str, Any]
    student: dict[str, Any]
    quantized: dict[str, dict[str, Any]]
    targets: dict[str, dict[str, Any]]


def summarise(
    recipe: Recipe,
    data: Dataset,
    teacher: Mapping[str, Any],
    seeds: Sequence[SeedResult],
    machine: Any,
    stages: list[dict[str, Any]],
) -> dict[str, Any]:
    """The document of run.json, schema 1; metrics are {mean, std, seeds}, std null for one seed."""
    return {
        "schema": SCHEMA,
        "name": recipe.name,
        "title": recipe.title or recipe.name,
        "machine": machine,
        "versions": versions(),
        "seeds": [result.seed for result in seeds],
        "recipe_sha256": recipe_digest(recipe),
        "git_commit": git_commit(),
        "metric_name": METRIC,
        "max_drop": recipe.quantization.max_drop,
        "data": {
            "name": data.name, "train": len(data.train), "val": len(data.val), "test": len(data.test),
            "classes": len(data.classes),
        },
        "teacher": _model([teacher]),
        "student_scratch": _model([result.scratch for result in seeds]),
        "student": _model([result.student for result in seeds]),
        "distillation": distillation(
            teacher["test"], [result.scratch["test"] for result in seeds], [result.student["test"] for result in seeds],
            [result.student["agreement"] for result in seeds], len(data.test),
        ),
        "quantized": {
            scheme: {"metric": over_seeds([result.quantized[scheme]["test"] for result in seeds])}
            for scheme in seeds[0].quantized
        },
        "targets": {name: _target([result.targets[name] for result in seeds]) for name in seeds[0].targets},
        "stages": stages,
    }  # fmt: skip


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation."""
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None, "seeds": list(values)}


def distillation(
    teacher: float, scratch: Sequence[float], student: Sequence[float], agreement: Sequence[float], samples: int
) -> dict[str, Any]:
    """Tax (teacher - student) and gap recovered ((student - scratch) / (teacher - scratch)), of the seeds' means.

    The gap is null, with the reason, where teacher - scratch is below two standard errors of a difference of two
    proportions over `samples`.
    """
    gap = teacher - mean(scratch)
    error = (sum(rate * (1 - rate) for rate in (teacher, mean(scratch))) / samples) ** 0.5
    found: dict[str, Any] = {"tax": teacher - mean(student), "gap_recovered": None, "agreement": mean(agreement)}
    if gap < LEAST_STANDARD_ERRORS * error:
        least = LEAST_STANDARD_ERRORS * error
        return found | {"reason": f"teacher - scratch is {100 * gap:.2f} points; below {100 * least:.2f} it is chance"}
    return found | {"gap_recovered": (mean(student) - mean(scratch)) / gap}


def _model(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = records[0]
    return {
        "metric": over_seeds([record["test"] for record in records]),
        "parameters": first["parameters"],
        "macs": first["macs"],
    }


def _target(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The first seed's entry, with metrics over all seeds; a failure of any seed is the target's."""
    entry = next((other for other in entries if other["status"] == "failed"), entries[0])
    merged = {key: value for key, value in entry.items() if key not in ("metric", "variants", "lost")}
    if any("metric" not in other for other in entries):
        return merged
    merged["metric"] = over_seeds([other["metric"] for other in entries])
    merged["variants"] = {
        label: row | {"metric": over_seeds([list(other["variants"].values())[place]["metric"] for other in entries])}
        for place, (label, row) in enumerate(entry["variants"].items())  # only a timed seed knows what `default` means
    }
    return merged


def recipe_digest(recipe: Recipe) -> str:
    """Identity of what was asked for."""
    return digest(recipe.model_dump(mode="json"))


def versions() -> dict[str, str]:
    """What computed the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of edgekd's own checkout; None for an installed wheel."""
    folder = edgekd.__path__[0]
    answer = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    tracked = subprocess.run(
        ["git", "-C", folder, "ls-files", "--error-unmatch", "__init__.py"], capture_output=True, check=False
    )
    return answer.stdout.strip() if answer.returncode == 0 and tracked.returncode == 0 else None
