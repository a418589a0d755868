"""The student's graphs, as stages: in float, and fine-tuned under its teacher for the arithmetic of each scheme."""

from collections.abc import Iterable
from glob import escape
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from edgekd.data.dataset import Dataset
from edgekd.distillation import Builds, Method, load_methods
from edgekd.distillation.embedding import Embedding
from edgekd.distillation.kd import KD
from edgekd.files import write_bytes
from edgekd.pipeline.calibrated import BATCH, calibrated, calibration_of, lost_by_layer, metric
from edgekd.pipeline.fine_tune import calibration, settle, settle_norms, simulated
from edgekd.pipeline.learn import Classroom, Learned, first_step, lesson
from edgekd.pipeline.summary import FLOAT_GRAPH
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.mixed_precision import Mixed
from edgekd.quantization.qat import export_float, export_qdq, prepare
from edgekd.quantization.scheme import Scheme
from edgekd.recipe import LEARNING_RATE, WEIGHT_DECAY, Recipe, Training
from edgekd.training import train
from edgekd.training.loop import HISTORY
from edgekd.training.weights import weights_digest

GENTLE = 0.03  # of the learning rate that suits an optimiser: weights move by a few steps of 1/127


def rehearse(room: Classroom, schemes: Iterable[Scheme]) -> None:
    """Try all of LEARN on untrained networks, once, so that a recipe fails before it has cost anything."""
    chosen = list(schemes)
    inputs = {
        "asked": room.recipe.model_dump(mode="json", exclude={"data", "devices", "targets", "benchmark", "title"}),
        "schemes": [scheme.name for scheme in chosen], **room.identity,
    }  # fmt: skip
    room.stages.run("rehearsal", inputs, lambda _: _rehearse(room, chosen), code=(__name__, *room.all_code))


def _rehearse(room: Classroom, schemes: Iterable[Scheme]) -> None:
    student, settings = first_step(room).eval(), room.recipe.quantization
    for scheme in schemes:
        if settings.epochs:
            prepare(student, scheme, room.example, settings.keep_float)
        else:
            graph, batch = export_float(student, room.example, fixed_length=True), {"input": room.example.numpy()}
            calibrate(graph, scheme, [batch], settings.keep_float)


def float_graph(room: Classroom, student: Learned) -> dict[str, Any]:
    """`onnx/float.onnx`: the student as it was distilled, batch norms folded; a target fixes the length of tokens."""
    name, fixed = FLOAT_GRAPH, bool(room.recipe.targets)

    def work(_: str) -> dict[str, Any]:
        return _write_graph(room, export_float(student.model, room.example, fixed_length=fixed), name)

    inputs = {"student": weights_digest(student.model), **room.identity} | ({"fixed_length": True} if fixed else {})
    record: dict[str, Any] = room.stages.run("export-float", inputs, work, (name,), code=(__name__, *room.all_code))
    return record


def quantise(room: Classroom, student: Learned, teachers: list[Learned], scheme: Scheme, cache: Path) -> dict[str, Any]:
    """`onnx/<scheme>.onnx`: the student, fine-tuned under its teachers for a scheme (0 epochs: calibrated)."""
    settings, name = room.recipe.quantization, f"onnx/{scheme.name}.onnx"
    models, lead = [teacher.model for teacher in teachers], room.stages.crew.lead

    def work(key: str) -> dict[str, Any]:
        room.reporter.say(f"quantising for {scheme.name}")
        original: onnx.ModelProto | None = None
        kept: tuple[str, ...] = ()
        if settings.mixed or not settings.epochs:
            original, mixed = lead(lambda: _calibrated(room, student, scheme))
            graph, kept = mixed.model, mixed.kept
        if settings.epochs:
            original, graph = None, _fine_tuned(room, student, models, scheme, cache, key, kept)
        return lead(lambda: _record(room, graph, name, original, kept))

    inputs = {
        "student": weights_digest(student.model), "teachers": [weights_digest(model) for model in models],
        "scheme": scheme.name, "float_tail": scheme.float_tail,
        "settings": settings.model_dump(mode="json"), "methods": room.recipe.distillation, "seed": room.seed,
        **room.identity,
    }  # fmt: skip
    outputs = (name, *([f"{_fine_tune(scheme)}/{HISTORY}"] if settings.epochs else []))
    record: dict[str, Any] = room.stages.run(
        f"quantise-{scheme.name}", inputs, work, outputs, code=(__name__, *room.all_code), together=True
    )
    return record


def _calibrated(room: Classroom, student: Learned, scheme: Scheme) -> tuple[onnx.ModelProto, Mixed]:
    """The student's float graph, and what calibration makes of it."""
    settings, graph = room.recipe.quantization, export_float(student.model, room.example, fixed_length=True)
    samples = calibration(room.data, room.seed, settings.calibration)
    return graph, calibrated(graph, scheme, [{"input": batch.numpy()} for batch in samples], room.data, settings)


def _fine_tuned(
    room: Classroom,
    student: Learned,
    teachers: list[nn.Module],
    scheme: Scheme,
    cache: Path,
    key: str,
    kept: Iterable[str],
) -> onnx.ModelProto:
    """The student after training in the scheme's arithmetic, but for layers kept in float."""
    settings = room.recipe.quantization
    samples = calibration(room.data, room.seed, settings.calibration)
    prepared = simulated(student.model, scheme, samples, settings, map(escape, kept))
    methods: list[Method] = [
        method for method in load_methods(room.recipe.distillation) if not isinstance(method, Builds)
    ] or [_default(room.data)]
    train(
        prepared, room.data, room.recipe.data, _fine_tuning(room.recipe),
        lesson(room, prepared, teachers, methods, cache), room.folder / _fine_tune(scheme),
        seed=room.seed, key=key, reporter=room.reporter, on_progress=settle,
    )  # fmt: skip
    settle_norms(prepared, room.data, samples)
    return room.stages.crew.lead(lambda: export_qdq(prepared, room.example, scheme, fixed_length=True))


def _fine_tune(scheme: Scheme) -> str:
    """Where the fine-tune for a scheme lives."""
    return f"qat/{scheme.name}"


def _fine_tuning(recipe: Recipe) -> Training:
    """As the student was trained, but gently; bfloat16 would round what the quantisers decide."""
    settings, taught = recipe.quantization, recipe.student.training
    optimizer = settings.optimizer or taught.optimizer
    decay = taught.weight_decay if optimizer == taught.optimizer else WEIGHT_DECAY[optimizer]
    return Training(
        epochs=settings.epochs, batch=settings.batch, optimizer=optimizer, clip=taught.clip, precision="float32",
        learning_rate=settings.learning_rate or GENTLE * LEARNING_RATE[optimizer], weight_decay=decay,
    )  # fmt: skip


def _default(data: Dataset) -> Method:
    """What teaches where all of a recipe's methods have trained parts, which a fine-tune leaves out."""
    return KD() if data.classes else Embedding()


def _record(
    room: Classroom, graph: onnx.ModelProto, name: str, original: onnx.ModelProto | None, kept: Iterable[str]
) -> dict[str, Any]:
    """Save a quantised graph: its metric, what was kept in float for it, and what each layer loses."""
    settings = room.recipe.quantization
    batch = {"input": calibration(room.data, room.seed, BATCH)[0].numpy()}
    layers = lost_by_layer(graph, batch, original, calibration_of(settings))
    return _write_graph(room, graph, name) | {"kept": list(kept), "layers": layers}


def _write_graph(room: Classroom, model: onnx.ModelProto, name: str) -> dict[str, Any]:
    """Save a graph, and what the reference says of its metric on the test split."""
    write_bytes(room.folder / name, model.SerializeToString())
    return {"test": metric(model, room.data, room.data.test)}
