"""MiniLM's students on STS-B and on two tasks that teaching never saw: quality kept for the size and time saved.

A frozen encoder's embeddings go to a linear probe on Reuters R8 (its own split) and on film reviews (split by film).
Time is ONNX Runtime's, float, one thread, one sentence of 32 tokens, in fresh interleaved processes. Each student is
taught without labels, with them besides, and the control learns from the labels alone. The part `deploy` puts each
student on its targets, in every precision that their runtimes have: Spearman as the runtime computes it, size, and time
for 48 tokens. Takes over an hour on two cores; interrupted, the same command continues. Each row is written to
`results/minilm-sts.json` as soon as it is done.
"""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F

from edgekd.backends.assemble import write_bundle
from edgekd.bundle import Preprocessing
from edgekd.data import Split, load, rotten_tomatoes, stsb
from edgekd.devices import open_device
from edgekd.files import write_json
from edgekd.measure import measure
from edgekd.measure.facts import machine_facts
from edgekd.metrics import accuracy
from edgekd.pipeline.origin import origin, versions
from edgekd.pipeline.run import run_recipe
from edgekd.progress import Reporter
from edgekd.quantization.qat import export_float
from edgekd.recipe import Model, Recipe, load_recipe
from edgekd.students import build_model
from edgekd.target import load_target
from edgekd.training import predict
from edgekd.training.weights import load_weights

RESULTS = Path(__file__).parent / "results" / "minilm-sts.json"
SENTENCE = 32  # tokens; STS-B's mean is 14
RECIPES = {"minilm-sts": (0.99, 0.97, 0.30, 0.40), "minilm-sts-small": (0.97, None, 0.15, 0.25)}
PARTS = ("students", "deploy")
VARIANTS: dict[str, tuple[str, ...]] = {"no labels": (), "labels too": ("cross_entropy=1.0",)}
Probe = tuple[Split, Split]


def students(recipe: Recipe, folder: Path) -> dict[str, nn.Module]:
    """The teacher, and what a finished run made of its student."""
    data = load(recipe.data, recipe.seed)

    def build(model: Model, weights: str | None) -> nn.Module:
        network = build_model(model, 0, data.train.inputs.shape[1:], seed=recipe.seed, teacher=found.get("teacher"))
        if weights:
            load_weights(network, folder / weights / "best.safetensors")
        return network.eval()

    found: dict[str, nn.Module] = {}
    found["teacher"] = build(recipe.teacher, None)
    return found | {name: build(recipe.student, name) for name in ("scratch", "student")}


def probes() -> dict[str, Probe]:
    """Train and test of the tasks that teaching never saw, as tokens and classes."""
    parts = []
    for part in ("train", "test"):
        texts, labels = (stsb.table(f"reuters-r8-{part}", column) for column in ("Text", "Category"))
        parts.append(Split(stsb.tokens(texts), np.unique(labels, return_inverse=True)[1]))
    train, val, test = rotten_tomatoes.split(rotten_tomatoes.reviews())
    films = [
        Split(stsb.tokens([review.text for review in part]), np.array([review.label for review in part]))
        for part in (train + val, test)
    ]
    return {"reuters-r8": (parts[0], parts[1]), "rotten-tomatoes": (films[0], films[1])}


def probe(model: nn.Module, task: Probe, decay: float = 1e-3) -> float:
    """Test accuracy of logistic regression on standardised embeddings, fitted by L-BFGS with an L2 penalty."""
    train, test = (torch.from_numpy(predict(model, split, Preprocessing(), precision="auto")) for split in task)
    deviation, mean = torch.std_mean(train, dim=0)
    train, test, labels = (train - mean) / deviation, (test - mean) / deviation, torch.from_numpy(task[0].labels)
    linear = nn.Linear(train.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(linear.weight)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(linear(train), labels) + decay * linear.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return accuracy.metric()(linear(test).detach().numpy(), task[1].labels)


def time_float(models: dict[str, nn.Module], tokens: np.ndarray[Any, Any], folder: Path) -> dict[str, dict[str, Any]]:
    """Latency in ONNX Runtime of each, interleaved: what `edgekd bench` reports."""
    target, candidates = load_target("x86-onnxruntime"), {}
    for name, model in models.items():
        graph = export_float(model, torch.from_numpy(tokens[:2]))
        graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = SENTENCE  # a bundle's shapes are fixed
        with torch.no_grad():
            answers = model(torch.from_numpy(tokens)).numpy()
        write_bundle(
            graph, target, folder / name, "float", name=name, inputs={"input": tokens}, outputs={"logits": answers}
        )
        candidates[name] = (folder / name, {})
    with closing(open_device("local:")) as device:
        measured = measure(device, candidates, seconds=1.0, threads=1)
    return {name: found.latency.model_dump(mode="json") for name, found in measured.items()}


def taught(name: str, variant: str, out: Path, reporter: Reporter) -> dict[str, Any]:
    """One recipe without its targets, run (or remembered), probed and timed."""
    recipe = load_recipe(name, (*VARIANTS[variant], "targets=[]", "devices={}"))
    folder = folder_of(name, variant, out)
    run = run_recipe(recipe, folder, reporter).run
    models, tasks = students(recipe, folder), probes()
    found = {
        key: {
            "spearman": run[entry]["metric"]["mean"],
            "parameters": run[entry]["parameters"],
            "macs": run[entry]["macs"],
        }
        | {task: probe(models[key], split) for task, split in tasks.items()}
        for key, entry in (("teacher", "teacher"), ("scratch", "student_scratch"), ("student", "student"))
    }
    tokens = load(recipe.data, recipe.seed).test.inputs[:, :SENTENCE].astype(np.int64)
    short = tokens[tokens[:, -1] == 0][:32]
    latency = time_float({key: models[key] for key in ("teacher", "student")}, short, folder / "float")
    for key, value in latency.items():
        found[key]["latency_ms"] = value
    return {"agreement": run["distillation"]["agreement"], "models": found}


def deployed(name: str, variant: str, out: Path, reporter: Reporter) -> dict[str, Any]:
    """The recipe's targets, without the samples behind each number: those are in the run folder's results.jsonl."""
    run = run_recipe(load_recipe(name, VARIANTS[variant]), folder_of(name, variant, out), reporter).run
    kept = ("status", "reason", "best", "advice", "int8_pays", "kernels", "variants")
    targets = {label: {key: target.get(key) for key in kept} for label, target in run["targets"].items()}
    for label, target in run["targets"].items():
        rows = [{key: value for key, value in row.items() if key != "histogram"} for row in target.get("parity") or ()]
        targets[label]["parity"] = rows
    return {"targets": targets}


def folder_of(name: str, variant: str, out: Path) -> Path:
    """Where a recipe runs."""
    return out / f"{name}-{variant}".replace(" ", "-")


def known() -> list[dict[str, Any]]:
    """The rows measured so far."""
    return list(json.loads(RESULTS.read_text())["rows"]) if RESULTS.is_file() else []


def keep(found: dict[str, Any]) -> None:
    """Write a row over its older self: of the parts that were not measured anew, the old ones stay."""
    rows = {(row["recipe"], row["variant"]): row for row in known()}
    place = found["recipe"], found["variant"]
    rows[place] = rows.get(place, {}) | found
    write_json(RESULTS, {"rows": [rows[key] for key in product(RECIPES, VARIANTS) if key in rows]})


def judged(found: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """Each promise of a label-free row: what, the ratio found, its limit, whether it holds."""
    teacher, student = found["models"]["teacher"], found["models"]["student"]
    spearman, linear, parameters, time = RECIPES[found["recipe"]]
    ratio: Callable[[str], float] = lambda key: student[key] / teacher[key]  # noqa: E731
    times = student["latency_ms"]["p50"] / teacher["latency_ms"]["p50"]
    at_least = [("spearman", spearman)] + [(task, linear) for task in ("reuters-r8", "rotten-tomatoes") if linear]
    kept = [(key, ratio(key), limit, ratio(key) >= limit) for key, limit in at_least]
    size = ratio("parameters")
    return [*kept, ("parameters", size, parameters, size <= parameters), ("time", times, time, times <= time)]


def main() -> int:
    """Run, print, write; 1 if a promise of a label-free student does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/minilm-sts"), help="run folder")
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    with closing(open_device("local:")) as host:
        facts = {"machine": machine_facts(host).model_dump(mode="json"), "versions": versions()}
    for name, variant in product(arguments.recipes, arguments.variants):
        place, whence = {"recipe": name, "variant": variant}, facts | {"git_commit": origin().commit}
        if "students" in arguments.parts:
            keep(whence | place | taught(name, variant, arguments.out, Reporter()))
        if "deploy" in arguments.parts:
            keep(place | {"deployed": whence | deployed(name, variant, arguments.out, Reporter())})
    rows = known()
    promises = {
        found["recipe"]: judged(found) for found in rows if found["variant"] == "no labels" and "models" in found
    }
    Console().print(table(rows), targets_table(rows), *(_promises(name, found) for name, found in promises.items()))
    return 0 if all(holds for found in promises.values() for *_, holds in found) else 1


def table(rows: list[dict[str, Any]]) -> Table:
    """All models of all rows."""
    keys = ("spearman", "reuters-r8", "rotten-tomatoes", "parameters")
    shown = Table("recipe", "taught with", "model", *keys, "ms", box=None)
    for found in rows:
        for name, model in found.get("models", {}).items():
            latency = f"{model['latency_ms']['p50']:.2f}" if "latency_ms" in model else "–"
            cells = [f"{100 * model[key]:.2f}" for key in keys[:3]] + [f"{model['parameters'] / 1e6:.2f} M", latency]
            shown.add_row(found["recipe"], found["variant"], name, *cells)
    return shown


def targets_table(rows: list[dict[str, Any]]) -> Table:
    """Every variant on every target; what is shipped has a star."""
    shown = Table("recipe", "taught with", "target", "variant", "spearman", "kB", "ms", box=None)
    for found in rows:
        for name, target in found.get("deployed", {}).get("targets", {}).items():
            for label, variant in (target["variants"] or {}).items():
                latency, star = variant["latency_ms"], " *" if label == target["best"] else ""
                cells = f"{100 * variant['metric']['mean']:.2f}", f"{variant['bytes'] / 1000:.0f}"
                time = f"{latency['p50']:.2f} ({latency['low']:.2f}–{latency['high']:.2f})" if latency else "–"
                shown.add_row(found["recipe"], found["variant"], name, label + star, *cells, time)
    return shown


def _promises(name: str, found: list[tuple[str, float, float, bool]]) -> Table:
    shown = Table(name, "of the teacher's", "limit", "holds", box=None)
    for what, ratio, limit, holds in found:
        shown.add_row(what, f"{100 * ratio:.1f} %", f"{100 * limit:.0f} %", "yes" if holds else "[red]no")
    return shown


if __name__ == "__main__":
    sys.exit(main())
