"""The whole pipeline in a few calls, for a user's own models in a user's own script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from torch import nn

from edgekd.data import Dataset, as_dataset
from edgekd.distillation import Builds, Method, checked, default_methods
from edgekd.errors import BadInputError
from edgekd.files import digest
from edgekd.networks import bare
from edgekd.pipeline.calibrated import calibrated, calibration_of, lost_by_layer
from edgekd.pipeline.fine_tune import arrays_of, calibration, freeze_halfway, recalibrate_if_better, simulated, two
from edgekd.pipeline.score import agree, doubt_teacher, score, try_out
from edgekd.pipeline.summary import bought, scales
from edgekd.plugins import nearest
from edgekd.progress import Reporter
from edgekd.quantization import qat
from edgekd.quantization.scheme import Scheme, find_scheme
from edgekd.recipe import Data, Quantization, Training
from edgekd.reporting.run_record import RunRecord
from edgekd.reporting.tables import learned, text
from edgekd.tasks import Task
from edgekd.training import CachedTeacher, Distill, LabelLoss, Teacher, evaluate
from edgekd.training import train as learn
from edgekd.training.class_order import in_order
from edgekd.training.loop import OnProgress
from edgekd.training.objectives import Objective, require_one_generation
from edgekd.training.weights import weights_digest

_OPTIONS = ("ranges", "equalize", "correct_bias")  # of `quantize`
_FINE_TUNING = Training(epochs=2, learning_rate=0.003, precision="float32")


@dataclass(frozen=True, eq=False)
class Quantized:
    """A student in a scheme's arithmetic.

    Attributes:
        graph: QDQ ONNX, which is what gets deployed.
        student: the float original.
        kept: layers that `max_drop` keeps in float.
        layers: what each layer loses: {"layer", "kind", "sqnr_db", "lost_db"}, the culprits first.
        module: simulates the graph in torch; None where it was only calibrated.
    """

    graph: onnx.ModelProto
    student: nn.Module
    scheme: Scheme
    data: Dataset
    kept: tuple[str, ...] = ()
    layers: Sequence[Mapping[str, Any]] = ()
    module: qat.Simulated | None = None


@dataclass(frozen=True)
class Comparison:
    """What teaching bought, in the words and with the keys of run.json; printed, it is a table."""

    run: Mapping[str, Any]

    @property
    def tax(self) -> float:
        """Teacher's metric - student's, a fraction."""
        return float(self.run["distillation"]["tax"])

    @property
    def gap_recovered(self) -> float | None:
        """(student - scratch) / (teacher - scratch); None without a control, or where that difference may be chance."""
        gap: float | None = self.run["distillation"]["gap_recovered"]
        return gap

    def __str__(self) -> str:
        return text(learned(RunRecord.of(self.run)))


def train(
    model: nn.Module,
    data: Any,
    *,
    task: str | Task | None = None,
    training: Training | None = None,
    augmentation: Sequence[str] = (),
    seed: int = 0,
    folder: Path | None = None,
    any_range: bool = False,
    skip_broken: int = 0,
) -> nn.Module:
    """Train `model`, in place, on labels alone, as `distill` does: a teacher, or the control that a student needs."""
    job = _TrainingJob(
        as_dataset(data, seed, task=task, any_range=any_range, skip_broken=skip_broken),
        tuple(augmentation),
        seed,
        training or Training(),
    )
    job.learn(model, None, (), 1.0, folder)
    return model


def distill(
    teacher: nn.Module,
    student: nn.Module,
    data: Any,
    losses: Sequence[Method] | None = None,
    *,
    task: str | Task | None = None,
    cross_entropy: float = 0.1,
    training: Training | None = None,
    augmentation: Sequence[str] = (),
    seed: int = 0,
    folder: Path | None = None,
    any_range: bool = False,
    skip_broken: int = 0,
) -> nn.Module:
    """Teach `student`, in place, and return it with the weights that were best on the validation split.

    With `SimKD` what is returned shares its layers and has the teacher's head.
    `data` is an `edgekd.data.Dataset` or ((x_train, y_train), (x_test, y_test)): uint8 images or floats, (N, C, …), and
    labels as the `task` has them: a name (`edgekd tasks`), by default the data set's own or classification, or a Task.
    Without `losses` the task's own method teaches.
    Splits in different number formats are refused unless `any_range`; so is a sample that cannot be read, unless it is
    one of `skip_broken`. With a `folder` the same call continues what was
    interrupted. Both networks stay on the device that accelerate
    chose, such as a GPU. Raises BadInputError for data or layers that do not fit, PromiseBrokenError when training
    diverges.
    """
    job = _TrainingJob(
        as_dataset(data, seed, task=task, any_range=any_range, skip_broken=skip_broken),
        tuple(augmentation),
        seed,
        training or Training(),
    )
    return job.learn(student, teacher, losses, cross_entropy, folder)


def map_classes(teacher: nn.Module, names: Sequence[str], data: Any, *, task: str | Task | None = None) -> nn.Module:
    """Return a teacher whose classes, called `names` in the order of its outputs, come in the order of the data's.

    Classes that the data does not have are left out. `data` is as in `distill`, where classes without names are called
    by their numbers, or the names themselves. The teacher's layers are then called `network.…`. Raises BadInputError
    for a class that the teacher does not know.
    """
    by_name = isinstance(data, list | tuple) and all(isinstance(name, str) for name in data)
    return in_order(teacher, names, data if by_name else as_dataset(data, task=task).classes)


def compare(
    teacher: nn.Module,
    student: nn.Module,
    data: Any,
    scratch: nn.Module | None = None,
    *,
    task: str | Task | None = None,
    seed: int = 0,
    any_range: bool = False,
    skip_broken: int = 0,
) -> Comparison:
    """Metric, size, calibration, distillation tax and agreement on the test split; beside `scratch`, gap recovered.

    `scratch` is the same student, from the same weights, trained without the teacher.
    """
    dataset = as_dataset(data, seed, task=task, any_range=any_range, skip_broken=skip_broken)
    taught = score(student, dataset) | {"agreement": agree(student, teacher, dataset)}
    alone = [] if scratch is None else [score(scratch, dataset)]
    return Comparison({**scales(dataset), **bought(dataset, score(teacher, dataset), alone, [taught])})


def quantize(
    student: nn.Module,
    scheme: str,
    data: Any,
    teacher: nn.Module | None = None,
    *,
    task: str | Task | None = None,
    losses: Sequence[Method] | None = None,
    cross_entropy: float = 0.1,
    training: Training | None = _FINE_TUNING,
    keep_float: Sequence[str] = (),
    max_drop: float | None = None,
    augmentation: Sequence[str] = (),
    seed: int = 0,
    folder: Path | None = None,
    any_range: bool = False,
    skip_broken: int = 0,
    **options: Any,
) -> Quantized:
    """Fine-tune a copy of `student` for a scheme's arithmetic, under its teacher if given.

    `training=None` calibrates only, as `options` say: `ranges`, `equalize`, `correct_bias`; with training, `ranges` may
    be `lsq`. `keep_float` are globs over layers; with `max_drop` those that int8 hurts most stay in float too, until
    calibration costs no more of the metric.
    Raises BadInputError for options that do not fit and, naming the line, for a model that cannot be exported.
    """
    dataset, found = (
        as_dataset(data, seed, task=task, any_range=any_range, skip_broken=skip_broken),
        find_scheme(scheme),
    )
    settings = _settings(training, keep_float, max_drop, options)
    samples, original, module = calibration(dataset, seed), None, None
    kept: tuple[str, ...] = ()
    if training is None or max_drop is not None:
        original = qat.export_float(student, two(samples), fixed_length=True)
        mixed = calibrated(original, found, [arrays_of(batch) for batch in samples], dataset, settings)
        graph, kept = mixed.model, mixed.kept
    if training is not None:
        module = simulated(student, found, samples, settings, map(escape, kept))
        plain = None if losses is None else [method for method in losses if not isinstance(method, Builds)]
        job = _TrainingJob(dataset, tuple(augmentation), seed, training)
        job.learn(module, teacher, plain, cross_entropy, folder, freeze_halfway)
        recalibrate_if_better(module, dataset, samples)
        original, graph = None, qat.export_qdq(module, two(samples), found, fixed_length=True)
    layers = lost_by_layer(graph, arrays_of(samples[0]), original, calibration_of(settings))
    return Quantized(graph, student, found, dataset, kept, layers, module)


def _settings(
    training: Training | None, keep_float: Sequence[str], max_drop: float | None, options: Mapping[str, Any]
) -> Quantization:
    for option in options:
        if option not in _OPTIONS:
            raise BadInputError(f"quantize: unknown key {option!r}{nearest(option, _OPTIONS)}")
    budget = {} if max_drop is None else {"mixed": True, "max_drop": max_drop}
    asked = {"epochs": 0 if training is None else max(1, training.epochs), "keep_float": keep_float}
    return Quantization.parse({**asked, **budget, **options}, "quantize")


@dataclass(frozen=True, eq=False)
class _TrainingJob:
    """One training of the user's, in a folder of its own or a temporary one."""

    data: Dataset
    augmentation: tuple[str, ...]
    seed: int
    training: Training

    def learn(
        self,
        model: nn.Module,
        teacher: nn.Module | None,
        losses: Sequence[Method] | None,
        cross_entropy: float,
        folder: Path | None,
        on_progress: OnProgress | None = None,
    ) -> nn.Module:
        """Train `model`, in place, and return what is to be deployed: it, or what a method makes of it."""
        recipe, reporter = Data(name=self.data.name, augmentation=self.augmentation), Reporter()
        try_out(model, self.data, "student" if teacher else "model")
        if teacher is not None and bare(teacher) is bare(model):
            raise BadInputError("teacher and student are the same network: it cannot learn from what it answers itself")
        if teacher is not None:
            try_out(teacher, self.data, "teacher")
            doubt_teacher(evaluate(teacher, self.data, self.data.val), self.data, self.data.val, reporter)
        asked = self.augmentation, self.seed, repr(self.training), repr(losses), cross_entropy
        networks = [weights_digest(network) for network in (model, teacher) if network is not None]
        key = digest([self.data.digest(), *asked, *networks])
        with TemporaryDirectory(prefix="edgekd-") as scratch:
            place = folder or Path(scratch)
            objective = self._objective(model, teacher, losses, cross_entropy, place, reporter)
            trained = learn(
                model, self.data, recipe, self.training, objective, place,
                seed=self.seed, key=key, reporter=reporter, on_progress=on_progress,
            )  # fmt: skip
        return trained.model.eval()

    def _objective(
        self,
        model: nn.Module,
        teacher: nn.Module | None,
        losses: Sequence[Method] | None,
        cross_entropy: float,
        folder: Path,
        reporter: Reporter,
    ) -> Objective:
        if teacher is None:
            return LabelLoss(self.training.label_smoothing)
        losses = [checked(method) for method in losses or default_methods(self.data.task)]
        require_one_generation(losses)
        source = CachedTeacher(Teacher.of(teacher, losses), folder / "answers", reporter)
        return Distill(
            model, source, losses,
            cross_entropy=cross_entropy, label_smoothing=self.training.label_smoothing, seed=self.seed,
        )  # fmt: skip
