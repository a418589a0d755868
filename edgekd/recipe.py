"""A recipe: what is taught to whom, for which targets. The only file that a user must write."""

import math
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from edgekd.errors import BadInputError
from edgekd.names import FileName
from edgekd.plugins import nearest
from edgekd.reading import read_toml
from edgekd.schema import Schema, Share, TaskSpec, Threads
from edgekd.user_code import check_reference, is_own, look_in


class Data(Schema):
    """A built-in data set with its options, a path in a known format, or the user's `module:function`."""

    name: str
    path: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    limit: PositiveInt | None = None
    augmentation: tuple[str, ...] = ()
    views: PositiveInt = 4
    skip_broken: NonNegativeInt = 0  # so many samples that cannot be read are left out


class Ramp(Schema):
    """A weight that moves from `start` to `end` over the first `until` (a fraction) of training, and then stays."""

    start: NonNegativeFloat
    end: NonNegativeFloat
    until: Annotated[float, Field(gt=0, le=1)] = 1.0
    shape: Literal["linear", "cosine"] = "linear"

    def at(self, progress: float) -> float:
        """The weight when `progress` (0…1) of the steps are done."""
        moved = min(1.0, progress / self.until)
        if self.shape == "cosine":
            moved = (1 - math.cos(math.pi * moved)) / 2
        return self.start + (self.end - self.start) * moved


Weight = NonNegativeFloat | Ramp


Decay = Annotated[float, Field(ge=0, lt=1)]
OptimizerName = Literal["sgd", "adamw"]
ScheduleName = Literal["cosine", "one-cycle", "linear", "constant"]
LEARNING_RATE: dict[OptimizerName, float] = {"sgd": 0.1, "adamw": 1e-3}
WEIGHT_DECAY: dict[OptimizerName, float] = {"sgd": 5e-4, "adamw": 0.01}


class Training(Schema):
    """One optimisation; `ema` is a decay per step, `clip` the largest gradient norm, 0 = off for both.

    A batch is seen in `accumulate` pieces, one after the other, for one step.
    `learning_rate` (the schedule's peak) and `weight_decay` default to what suits the optimiser; `momentum` is SGD's,
    `betas` are AdamW's.
    """

    epochs: NonNegativeInt = 10
    batch: PositiveInt = 128
    accumulate: PositiveInt = 1
    optimizer: OptimizerName = "sgd"
    learning_rate: PositiveFloat = Field(default_factory=lambda given: LEARNING_RATE[given["optimizer"]])
    weight_decay: NonNegativeFloat = Field(default_factory=lambda given: WEIGHT_DECAY[given["optimizer"]])
    momentum: Decay = 0.9
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    schedule: ScheduleName = "cosine"
    warmup: Share = 0.1
    clip: NonNegativeFloat = 0.0
    label_smoothing: Share = 0.0
    ema: Decay = 0.0
    precision: Literal["auto", "float32", "bf16"] = "auto"


class Model(Schema):
    """A model by built-in name, as `timm:NAME` or `transformers:NAME`, or by `module:function`, with its arguments.

    A teacher with a `checkpoint`, or with 0 epochs, is not trained; a student always is, and has none.
    """

    model: str
    options: dict[str, Any] = Field(default_factory=dict)
    checkpoint: str | None = None
    training: Training = Training()


class Cache(Schema):
    """How the teacher's answers are kept: all logits or the `top_k` largest; above `limit_gb` it answers live."""

    top_k: PositiveInt | None = None
    logits: Literal["float32", "float16"] = "float32"
    limit_gb: PositiveFloat = 16.0


class Quantization(Schema):
    """Quantisation-aware fine-tuning from the distilled student; `epochs = 0` calibrates only.

    The optimizer is the student's unless another one is named; the learning rate's default suits it. A fine-tune
    follows its `ranges` (`ema`) or learns them (`lsq`); for calibration only are the others, `equalize` and
    `correct_bias`, with the defaults of `quantization.calibrate.Calibration`.
    `mixed` keeps the layers in float that int8 hurts most, until calibration drops the metric by `max_drop` at most.
    Where devices of the recipe execute some schemes, only those are fine-tuned and the others calibrated, unless
    `fine_tune` is `all`.
    """

    epochs: NonNegativeInt = 2
    fine_tune: Literal["executed", "all"] = "executed"
    optimizer: OptimizerName | None = None
    learning_rate: PositiveFloat | None = None
    batch: PositiveInt = 128
    keep_float: tuple[str, ...] = ()
    calibration: PositiveInt = 512
    ranges: Literal["minmax", "ema", "percentile", "mse", "lsq"] | None = None
    equalize: bool | None = None
    correct_bias: bool | None = None
    mixed: bool = False
    max_drop: NonNegativeFloat = 0.005

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.epochs and self.ranges == "lsq":
            raise ValueError("ranges: 'lsq' learns ranges in a fine-tune; 0 epochs only calibrate")
        if self.epochs and self.ranges not in (None, "ema", "lsq"):
            raise ValueError(
                f"ranges: {self.ranges!r} is for calibration only (epochs = 0); a fine-tune has ema or lsq"
            )
        if self.epochs and not (self.equalize is None and self.correct_bias is None):
            raise ValueError("equalize and correct_bias are for calibration only (epochs = 0)")
        return self


class Benchmark(Schema):
    """How long each latency is measured: fresh-process replicates, each at least `seconds` and `count` long."""

    replicates: PositiveInt = 5
    seconds: PositiveFloat = 0.5
    count: PositiveInt = 50


class Recipe(Schema):
    """A whole run. `distillation` entries are `{method = …, weight = …, …the method's own parameters}`.

    Layers of the first of the `co_teachers` are written `1/name`. `control` holds the weights of a student that was
    trained without a teacher; without it one is trained. Without targets a run ends with the float graph.
    Without a `task` the data set has its own: classification, but for pairs of sentences.
    `optional` are targets that a run does without, in one line, where their device or its runtime is not there.
    `length` is how many tokens a deployed model takes; longer sequences are cut (default: the data's own length).
    """

    name: FileName
    title: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**62)] = 0
    seeds: Annotated[int, Field(gt=0, le=1000)] = 1
    threads: Threads = 1
    targets: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    length: PositiveInt | None = None
    data: Data
    task: TaskSpec | None = None
    teacher: Model
    co_teachers: tuple[Model, ...] = ()
    student: Model
    control: str | None = None
    cross_entropy: Weight = 0.1
    distillation: tuple[dict[str, Any], ...] = Field(min_length=1)
    cache: Cache = Cache()
    quantization: Quantization = Quantization()
    benchmark: Benchmark = Benchmark()
    devices: dict[str, str] = Field(default_factory=dict)

    @property
    def teachers(self) -> tuple[Model, ...]:
        """All teachers, the first one being the one that the student is compared with."""
        return (self.teacher, *self.co_teachers)

    @property
    def code(self) -> tuple[str, ...]:
        """Every `module:function` that the recipe calls."""
        models = [model.model for model in (*self.teachers, self.student)]
        names = [
            self.data.name,
            *([self.task.name] if self.task else []),
            *models,
            *(str(entry.get("method")) for entry in self.distillation),
        ]
        return tuple(dict.fromkeys(name for name in names if is_own(name)))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for entry in self.distillation:
            if "method" not in entry:
                raise ValueError("every [[distillation]] entry needs a 'method'")
        if not self.student.training.epochs:
            raise ValueError("student.training.epochs: a student needs at least one epoch")
        if self.student.checkpoint is not None:
            raise ValueError("student.checkpoint: a student is trained; `control` holds one that had no teacher")
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("targets: a target is named twice")
        for key, names in {"optional": self.optional, "devices": self.devices}.items():
            for name in names:
                if name not in self.targets:
                    raise ValueError(f"{key}: {name!r} is not one of the targets{nearest(name, self.targets)}")
        return self


def builtin_recipes() -> list[str]:
    """Names of the recipes that ship with edgekd."""
    return sorted(entry.name.removesuffix(".toml") for entry in _builtin().iterdir() if entry.name.endswith(".toml"))


def listed() -> list[dict[str, str]]:
    """One row per built-in recipe."""
    return [{"recipe": name, "what": load_recipe(name).title} for name in builtin_recipes()]


def load_recipe(name: str, overrides: Sequence[str] = (), *, code: bool = True) -> Recipe:
    """Read a recipe by path or built-in name, with `a.b=c` overrides; raise BadInputError in one line.

    Modules beside a recipe's file may be named in it; without `code` it may name none.
    """
    document, default = read_document(name, overrides)
    recipe = Recipe.parse({"name": default} | document, str(name))
    for reference in recipe.code:
        check_reference(reference)
    if recipe.code and not code:
        raise BadInputError(f"{name}: --no-code, but it calls {', '.join(recipe.code)}")
    return recipe


def read_document(name: str, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
    """Return a recipe as it is written, with its overrides, and the name that it has by default.

    Raises BadInputError where it is unknown, no TOML, or an override has no place.
    """
    path = Path(name)
    if name.endswith(".toml"):
        if not path.exists():
            raise BadInputError(f"{name}: no such file", hint=f"edgekd init {name}")
        look_in(path.parent)
    else:
        if name not in builtin_recipes():
            raise BadInputError(f"unknown recipe {name!r}{nearest(name, builtin_recipes())}", hint="edgekd recipes")
        path = _builtin() / f"{name}.toml"
    document = read_toml(path)
    for override in overrides:
        _apply(document, override)
    return document, path.stem


def _apply(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise BadInputError(f"--set {override}: expected key=value")
    *parents, last = key.split(".")
    node: Any = document
    for part in parents:
        node = _child(node, part, key)
    if not isinstance(node, dict):
        raise BadInputError(f"--set {key}: {'.'.join(parents)} is not a table")
    node[last] = _value(text)


def _child(node: Any, part: str, key: str) -> Any:
    if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
        return node[int(part)]
    if not isinstance(node, dict):
        raise BadInputError(f"--set {key}: {part!r} is not inside a table")
    return node.setdefault(part, {})


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _builtin() -> Path:
    return Path(str(files("edgekd.recipes")))
