"""The student's graphs, as stages: in float, and fine-tuned under its teacher for the arithmetic of each scheme."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from glob import escape
from pathlib import Path

import onnx
from torch import nn

from edgekd.distillation import Builds, Method, default_methods, load_methods
from edgekd.files import write_bytes
from edgekd.networks import bare
from edgekd.pipeline.calibrated import BATCH, calibrated, calibration_of, lost_by_layer, metric
from edgekd.pipeline.documents import GraphRecord, QuantizedRecord
from edgekd.pipeline.fine_tune import arrays_of, calibration, freeze_halfway, recalibrate_if_better, simulated
from edgekd.pipeline.learn import Learned, StageContext, build_objective, first_step
from edgekd.pipeline.plan import only_calibrated, settings_for
from edgekd.pipeline.summary import FLOAT_GRAPH
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.mixed_precision import Mixed
from edgekd.quantization.qat import export_float, export_qdq, prepare
from edgekd.quantization.qat.tagged import tags_of
from edgekd.quantization.scheme import Scheme, schemes_of
from edgekd.recipe import LEARNING_RATE, WEIGHT_DECAY, Recipe, Training
from edgekd.target import Target
from edgekd.training import train
from edgekd.training.loop import HISTORY, WEIGHTS
from edgekd.training.weights import weights_digest

GENTLE = 0.03  # of the learning rate that suits an optimiser: weights move by a few steps of 1/127


def rehearse(context: StageContext, targets: Sequence[Target]) -> None:
    """Try all of LEARN on untrained networks, once, so that a recipe fails before it has cost anything."""
    inputs = {
        "asked": context.recipe.model_dump(mode="json", exclude={"data", "devices", "targets", "benchmark", "title"}),
        "schemes": [scheme.name for scheme in schemes_of(targets)], **context.identity,
        "calibrated": sorted(only_calibrated(context.recipe, targets)),
    }  # fmt: skip
    context.stages.run("rehearsal", inputs, lambda _: _rehearse(context, targets), code=(__name__, *context.all_code))


def _rehearse(context: StageContext, targets: Sequence[Target]) -> None:
    student, kept = first_step(context).eval(), context.recipe.quantization.keep_float
    context = context.deployed()
    settings = {scheme: settings_for(context.recipe, scheme.name, targets) for scheme in schemes_of(targets)}
    tuned = [scheme for scheme, how in settings.items() if how.epochs]
    tags = tags_of(bare(student), context.example) if tuned else None
    for scheme in tuned:
        prepare(student, scheme, context.example, kept, tags)
    graph = tags.graph if tags else export_float(student, context.example, fixed_length=bool(targets))
    for scheme in settings.keys() - set(tuned):
        calibrate(graph, scheme, [arrays_of(context.example)], kept)


def for_scheme(context: StageContext, scheme: Scheme, targets: Sequence[Target]) -> StageContext:
    """The context in which a scheme's graph is made: one that no device executes is not fine-tuned."""
    settings = settings_for(context.recipe, scheme.name, targets)
    return replace(context, recipe=context.recipe.model_copy(update={"quantization": settings}))


def float_graph(context: StageContext, student: Learned) -> GraphRecord:
    """`onnx/float.onnx`: the student as it was distilled, batch norms folded; a target fixes the length of tokens."""
    name, fixed = FLOAT_GRAPH, bool(context.recipe.targets)

    def work(_: str) -> GraphRecord:
        return _write_graph(context, export_float(student.model, context.example, fixed_length=fixed), name)

    inputs = {"student": weights_digest(student.model), **context.identity} | ({"fixed_length": True} if fixed else {})
    record: GraphRecord = context.stages.run("export-float", inputs, work, (name,), code=(__name__, *context.all_code))
    return record


def quantise(
    context: StageContext, student: Learned, teachers: list[Learned], scheme: Scheme, cache: Path
) -> QuantizedRecord:
    """`onnx/<scheme>.onnx`: the student, fine-tuned under its teachers; with 0 epochs its float graph, calibrated."""
    settings, name = context.recipe.quantization, f"onnx/{scheme.name}.onnx"
    models, lead = [teacher.model for teacher in teachers], context.stages.group.run_on_main

    def work(key: str) -> QuantizedRecord:
        context.reporter.say(f"quantising for {scheme.name}")
        original: onnx.ModelProto | None = None
        kept: tuple[str, ...] = ()
        if settings.mixed or not settings.epochs:
            original, mixed = lead(lambda: _calibrated(context, scheme))
            graph, kept = mixed.model, mixed.kept
        if settings.epochs:
            original, graph = None, _fine_tuned(context, student, models, scheme, cache, key, kept)
        return lead(lambda: _record(context, graph, name, original, kept))

    asked = settings.model_dump(mode="json", exclude={"fine_tune"})
    inputs = {
        "student": weights_digest(student.model), "teachers": [weights_digest(model) for model in models],
        "scheme": scheme.name, "float_tail": scheme.float_tail, "settings": asked,
        "methods": context.recipe.distillation, "seed": context.seed, **context.identity,
    }  # fmt: skip
    outputs = (name, *(f"{_fine_tune(scheme)}/{made}" for made in (WEIGHTS, HISTORY) if settings.epochs))
    record: QuantizedRecord = context.stages.run(
        f"quantise-{scheme.name}", inputs, work, outputs, code=(__name__, *context.all_code), together=True
    )
    return record


def _calibrated(context: StageContext, scheme: Scheme) -> tuple[onnx.ModelProto, Mixed]:
    """The student's float graph, which is there, and what calibration makes of it."""
    settings, graph = context.recipe.quantization, onnx.load(context.folder / FLOAT_GRAPH)
    samples = calibration(context.data, context.seed, settings.calibration)
    return graph, calibrated(graph, scheme, [arrays_of(batch) for batch in samples], context.data, settings)


def _fine_tuned(
    context: StageContext,
    student: Learned,
    teachers: list[nn.Module],
    scheme: Scheme,
    cache: Path,
    key: str,
    kept: Iterable[str],
) -> onnx.ModelProto:
    """The student after training in the scheme's arithmetic, but for layers kept in float."""
    settings = context.recipe.quantization
    samples = calibration(context.data, context.seed, settings.calibration)
    prepared = simulated(student.model, scheme, samples, settings, map(escape, kept))
    methods: list[Method] = [
        method for method in load_methods(context.recipe.distillation) if not isinstance(method, Builds)
    ] or default_methods(context.data.task)  # a fine-tune leaves trained parts out
    train(
        prepared, context.data, context.recipe.data, _fine_tuning(context.recipe),
        build_objective(context, prepared, teachers, methods, cache), context.folder / _fine_tune(scheme),
        seed=context.seed, key=key, reporter=context.reporter, on_progress=freeze_halfway,
    )  # fmt: skip
    recalibrate_if_better(prepared, context.data, samples)
    return context.stages.group.run_on_main(lambda: export_qdq(prepared, context.example, scheme, fixed_length=True))


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


def _record(
    context: StageContext, graph: onnx.ModelProto, name: str, original: onnx.ModelProto | None, kept: Iterable[str]
) -> QuantizedRecord:
    """Save a quantised graph: its metric, what was kept in float for it, and what each layer loses."""
    settings = context.recipe.quantization
    batch = arrays_of(calibration(context.data, context.seed, BATCH)[0])
    layers = lost_by_layer(graph, batch, original, calibration_of(settings))
    return {**_write_graph(context, graph, name), "kept": list(kept), "layers": layers}


def _write_graph(context: StageContext, model: onnx.ModelProto, name: str) -> GraphRecord:
    """Save a graph, and what the reference says of its metric on the test split."""
    write_bytes(context.folder / name, model.SerializeToString())
    return {"test": metric(model, context.data, context.data.test)}
