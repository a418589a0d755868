"""Every way to teach, side by side: one teacher, a ResNet-8, 20,000 images of Fashion-MNIST, 8 epochs, three seeds.

The two best come again on the full set, with one seed. Weights are the papers', not tuned here. Takes two hours on one
core; each row is written to `results/methods.json` (its epochs to `results/methods.jsonl`) as soon as it is done, and a
row whose settings, teacher and method have not changed is not run again; interrupted, the same command continues.
"""

import argparse
import json
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from edgekd.data import load
from edgekd.devices import open_device
from edgekd.files import digest, sha256, write_bytes, write_json
from edgekd.measure.facts import machine_facts
from edgekd.pipeline.learn import WEIGHTS, Learned, StageContext, control, distil, teach
from edgekd.pipeline.origin import origin, versions
from edgekd.pipeline.stages import Stages
from edgekd.progress import Reporter
from edgekd.recipe import Model, Recipe, Training, load_recipe

RESULTS = Path(__file__).parent / "results"
METHODS = Path(sys.modules["edgekd"].__path__[0]) / "distillation"
STAGES = {f"stages.{number}": f"stages.{number}" for number in range(3)}
LAST = {"head:input": "head:input"}
SUBSET, EPOCHS, VIEWS, SEEDS, FULL_SEEDS = 20_000, 8, 4, 3, 1
ASSISTANT = Model(model="resnet", options={"depth": 14}, training=Training(epochs=EPOCHS))


@dataclass(frozen=True)
class Row:
    """One way to teach: its `[[distillation]]` entries, the weight of the labels, perhaps a second teacher."""

    entries: tuple[dict[str, Any], ...] = ()
    cross_entropy: float = 1.0
    co_teachers: tuple[Model, ...] = ()

    @property
    def sources(self) -> list[str]:
        """The code of its methods, by hash."""
        return [sha256(METHODS / f"{entry['method'].replace('-', '_')}.py") for entry in self.entries]


def _one(method: str, cross_entropy: float = 1.0, **parameters: Any) -> Row:
    return Row(({"method": method, **parameters},), cross_entropy)


ROWS = {
    "scratch": Row(),
    "kd": _one("kd", 0.1, temperature=4.0, weight=0.9),
    "kd + standardize": _one("kd", 0.1, temperature=2.0, weight=9.0, standardize=True),
    "dkd": _one("dkd", weight={"start": 0.0, "end": 1.0, "until": 0.1}),
    "dist": _one("dist"),
    "hint": _one("hint", layers={"stages.2": "stages.2"}, weight=10.0),
    "attention": _one("attention", layers=STAGES, weight=3000.0),  # the paper sums over layers, ours is their mean
    "similarity": _one("similarity", layers={"stages.2": "stages.2"}),
    "rkd": _one("rkd", layers=LAST),
    "crd (512 negatives)": _one("crd", negatives=512),
    "review": _one("review", layers=STAGES),
    "simkd": _one("simkd", 0.0),
    "taid": _one("taid", 0.1, weight=0.9),
    "born-again": _one("born-again", generations=2),
    "two teachers": Row(({"method": "multi-teacher", "temperature": 4.0, "weight": 0.9},), 0.1, (ASSISTANT,)),
}


@dataclass
class Bench:
    """The results so far, and where runs live."""

    out: Path
    teacher: str | None
    reporter: Reporter
    document: dict[str, Any] = field(default_factory=dict)
    teachers: list[Learned] = field(default_factory=list)

    def run(self, name: str, row: Row, limit: int | None) -> None:
        """Train a row's seeds, unless its result is known, and write it down."""
        recipe = self._recipe(row, limit)
        key = digest(
            [recipe.model_dump(mode="json", exclude={"teacher"}), self.document["teacher"]["sha256"], row.sources]
        )
        rows = self.document["rows"]
        label = name if limit else f"{name}, full set"
        if rows.get(label, {}).get("key") == key:
            return
        seeds = [self._seed(recipe, label, row, seed) for seed in range(SEEDS if limit else FULL_SEEDS)]
        rows[label] = {
            "key": key, "distillation": row.entries, "cross_entropy": row.cross_entropy, "limit": limit,
            "test": _spread([seed["test"] for seed in seeds]),
            "calibration_error": _spread([seed["calibration_error"] for seed in seeds]),
            "agreement": _spread([seed["agreement"] for seed in seeds]) if row.entries else None,
            "seconds": _spread([seed["seconds"] for seed in seeds]),
        }  # fmt: skip
        write_json(RESULTS / "methods.json", self.document)

    def find_teacher(self) -> None:
        """Read the results there are, and the teachers: the one of all rows, and the assistant of one."""
        path = RESULTS / "methods.json"
        self.document = json.loads(path.read_text()) if path.is_file() else {}
        self.teachers = teach(self._context(self._recipe(ROWS["two teachers"], SUBSET), self.out / "teachers", 0))
        learned, assistant = self.teachers
        weights = Path(self.teacher) if self.teacher else learned.folder / WEIGHTS
        with closing(open_device("local:")) as host:
            machine = machine_facts(host).model_dump(mode="json")
        self.document |= {
            "machine": machine, "versions": versions(), "git_commit": origin().commit,
            "threads": torch.get_num_threads(),
            "settings": {"images": SUBSET, "epochs": EPOCHS, "views": VIEWS, "seeds": SEEDS, "seeds_full": FULL_SEEDS},
            "teacher": {"test": learned.record["test"], "sha256": sha256(weights)},
            "assistant": {"test": assistant.record["test"], "sha256": sha256(assistant.folder / WEIGHTS)},
        }  # fmt: skip
        self.teacher = str(weights)
        self.document.setdefault("rows", {})

    def best(self, count: int = 2) -> list[str]:
        """The rows that taught best on the subset."""
        rows = self.document["rows"]
        found = {name: rows[name]["test"]["mean"] for name in ROWS if name in rows and name != "scratch"}
        return sorted(found, key=lambda name: -found[name])[:count]

    def _recipe(self, row: Row, limit: int | None) -> Recipe:
        recipe = load_recipe("fashion-mnist")
        student = recipe.student.model_copy(update={"training": Training(epochs=EPOCHS)})
        return recipe.model_copy(
            update={
                "data": recipe.data.model_copy(update={"limit": limit, "views": VIEWS}),
                "teacher": recipe.teacher.model_copy(update={"checkpoint": self.teacher}),
                "student": student, "co_teachers": row.co_teachers, "distillation": row.entries,
                "cross_entropy": row.cross_entropy,
            }
        )  # fmt: skip

    def _context(self, recipe: Recipe, folder: Path, seed: int) -> StageContext:
        return StageContext(recipe, load(recipe.data, 0), seed, Stages(folder, self.reporter), self.reporter)

    def _seed(self, recipe: Recipe, label: str, row: Row, seed: int) -> dict[str, Any]:
        context = self._context(recipe, self.out / label.replace(" ", "-") / str(seed), seed)
        teachers = self.teachers[: 1 + len(row.co_teachers)]
        learned = distil(context, teachers, self.out / "answers") if row.entries else control(context, teachers[0])
        self._log(label, seed, learned)
        return learned.record | {"seconds": sum(stage["seconds"] for stage in context.stages.log)}

    def _log(self, label: str, seed: int, learned: Learned) -> None:
        path = RESULTS / "methods.jsonl"
        kept = path.read_text().splitlines() if path.is_file() else []
        kept = [line for line in kept if [json.loads(line)[key] for key in ("row", "seed")] != [label, seed]]
        history = json.loads((learned.folder / "history.json").read_text())
        kept += [json.dumps({"row": label, "seed": seed} | epoch) for epoch in history]
        write_bytes(path, "".join(f"{line}\n" for line in kept).encode())


def _spread(values: list[float]) -> dict[str, Any]:
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None, "seeds": values}


def _percent(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "–"
    return f"{100 * cell['mean']:.2f}" + ("" if cell["std"] is None else f" ± {100 * cell['std']:.2f}")


def table(document: dict[str, Any]) -> Table:
    """Rows by accuracy."""
    shown = Table("taught by", "accuracy %", "agreement %", "calibration error %", "seconds", box=None)
    for name, row in sorted(
        document["rows"].items(), key=lambda item: (not item[1]["limit"], -item[1]["test"]["mean"])
    ):
        cells = [_percent(row[key]) for key in ("test", "agreement", "calibration_error")]
        shown.add_row(name, *cells, f"{row['seconds']['mean']:.0f}")
    return shown


def main() -> int:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"), help="run folder")
    parser.add_argument("--teacher", help="weights of a ResNet-20; without them one is trained, as in fashion-mnist")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), help="these rows, on the subset")
    parser.add_argument("--full", action="store_true", help="the full set alone, with the best of the rows there are")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments.out, arguments.teacher, Reporter(arguments.out / "events.jsonl"))
    bench.find_teacher()
    for name in [] if arguments.full else arguments.only or ROWS:
        bench.run(name, ROWS[name], SUBSET)
    if not arguments.only:
        for name in ("scratch", *bench.best()):
            bench.run(name, ROWS[name], None)
    Console().print(f"teacher: {100 * bench.document['teacher']['test']:.2f} %", table(bench.document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
