"""A recipe before it runs: what it would do."""

from collections.abc import Mapping, Sequence

from edgekd.backends import find_backend
from edgekd.data import load
from edgekd.data.dataset import Dataset
from edgekd.devices import transport_of
from edgekd.errors import BadInputError
from edgekd.pipeline.summary import FLOAT_GRAPH
from edgekd.progress import SILENT, Reporter
from edgekd.quantization.scheme import find_scheme
from edgekd.recipe import Quantization, Recipe
from edgekd.reporting.dry_run import StageRow
from edgekd.target import Target, load_target
from edgekd.tasks import find_task


def load_data(recipe: Recipe, any_range: bool = False, reporter: Reporter = SILENT) -> Dataset:
    """The recipe's data, for its task; errors as `data.load`'s."""
    task = find_task(recipe.task.name, recipe.task.options) if recipe.task else None
    return load(recipe.data, recipe.seed, task=task, any_range=any_range, reporter=reporter)


def load_targets(recipe: Recipe) -> list[Target]:
    """The recipe's targets, each with a known backend, scheme and transport; raise BadInputError otherwise."""
    targets = [load_target(name) for name in recipe.targets]
    for target in targets:
        find_backend(target.backend)
        find_scheme(target.scheme)
    for uri in recipe.devices.values():
        transport_of(uri)
    return targets


def with_names(recipe: Recipe, targets: Mapping[str, Target]) -> Recipe:
    """Return a recipe that calls its targets, which it may name by their files' paths, by their own names.

    Raises BadInputError where two have one name.
    """
    names = {given: targets[given].name if given in targets else given for given in recipe.targets}
    for given, name in names.items():
        if twin := next((other for other in names if other != given and names[other] == name), None):
            raise BadInputError(f"targets: {given} and {twin} are both called {name!r}")
    update = {
        "targets": tuple(names.values()),
        "optional": tuple(names[given] for given in recipe.optional),
        "devices": {names[given]: uri for given, uri in recipe.devices.items()},
    }
    return recipe.model_copy(update=update)


def describe(recipe: Recipe, targets: list[Target], generations: int = 1) -> list[StageRow]:
    """The stages that a run would go through, with students over so many generations."""
    schemes = dict.fromkeys(target.scheme for target in targets)
    rows: list[StageRow] = [{"stage": "code", "what": f"calls {', '.join(recipe.code)}"}] if recipe.code else []
    rows += [
        {
            "stage": f"teacher-{number}" if number else "teacher",
            "what": teacher.checkpoint or f"{teacher.model}, {teacher.training.epochs} epochs",
        }
        for number, teacher in enumerate(recipe.teachers)
    ]
    taught = ", ".join(entry["method"] for entry in recipe.distillation)
    for seed in range(recipe.seed, recipe.seed + recipe.seeds):
        student = f"{recipe.student.model}, {recipe.student.training.epochs} epochs, seed {seed}"
        rows.append({"stage": "scratch", "what": recipe.control or student})
        names = [*(f"generation-{number}" for number in range(1, generations)), "student"]
        rows += [{"stage": name, "what": f"{student}, taught by {taught}"} for name in names]
        rows.append({"stage": "export float", "what": FLOAT_GRAPH})
        rows += [{"stage": f"quantise {scheme}", "what": _quantised(recipe, scheme, targets)} for scheme in schemes]
        rows += [_deployed(recipe, target, seed) for target in targets]
    return rows


def deployment_of(recipe: Recipe, target: Target, seed: int) -> str:
    """The stage in which a seed's bundles for a target are made; only the first seed's are timed."""
    return f"target {target.name}" + ("" if seed == recipe.seed else f", seed {seed}")


def _deployed(recipe: Recipe, target: Target, seed: int) -> StageRow:
    device = recipe.devices.get(target.name, "not executed: no device in the recipe")
    untimed = ", not timed" if target.name in recipe.devices and seed != recipe.seed else ""
    what = f"{target.backend}, {target.scheme}, {device}{untimed}"
    return {"stage": deployment_of(recipe, target, seed), "what": what}


def settings_for(recipe: Recipe, scheme: str, targets: Sequence[Target]) -> Quantization:
    """How a scheme's graph is made: a scheme that no device executes is not worth a fine-tune, if another's is."""
    settings, executed = recipe.quantization, {target.scheme for target in targets if target.name in recipe.devices}
    if settings.fine_tune == "all" or not executed or scheme in executed or not settings.epochs:
        return settings
    return settings.model_copy(update={"epochs": 0, "ranges": None})


def only_calibrated(recipe: Recipe, targets: Sequence[Target]) -> frozenset[str]:
    """The schemes that are calibrated although the recipe has a fine-tune, since no device executes them."""
    schemes = {target.scheme for target in targets}
    return frozenset(
        name for name in schemes if settings_for(recipe, name, targets).epochs < recipe.quantization.epochs
    )


def _quantised(recipe: Recipe, scheme: str, targets: Sequence[Target]) -> str:
    settings = settings_for(recipe, scheme, targets)
    how = f"{settings.epochs} epochs" if settings.epochs else "calibrated"
    how += ", not fine-tuned: no device runs it" if scheme in only_calibrated(recipe, targets) else ""
    return f"{how}, layers in float as {settings.max_drop:g} of the metric asks" if settings.mixed else how
