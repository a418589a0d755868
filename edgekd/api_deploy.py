"""From a user's own model to a bundle on a device: simulate, export, evaluate, measure."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekd.api import Quantized
from edgekd.backends.compiled import Precision
from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.bundle import Manifest, TensorSpec, load_bundle
from edgekd.data import prepare as as_taken
from edgekd.data.check import same_count
from edgekd.data.dataset import model_inputs
from edgekd.data.ranges import range_of
from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.measure import predict
from edgekd.measure.predictions import require_finite
from edgekd.metrics import Metric, Scale
from edgekd.names import require_file_name
from edgekd.onnx_import.samples import GivenSamples, NpzSamples, Samples
from edgekd.outputs import joined
from edgekd.pipeline.bench import bench_bundles
from edgekd.pipeline.export import export_and_verify, told_of
from edgekd.pipeline.fallback import write_precision
from edgekd.pipeline.foreign import export_file, export_graph
from edgekd.pipeline.imported import Wishes, import_file
from edgekd.pipeline.parity_evidence import PARITY_INPUTS, Expected, chunks
from edgekd.pipeline.samples import asked_metric
from edgekd.pipeline.verify import EvalResult
from edgekd.quantization import qat
from edgekd.quantization.scheme import SCHEMES, Scheme, find_scheme, schemes_of
from edgekd.reporting.exported import ExportReport
from edgekd.target import load_target
from edgekd.tasks import Task, find_task, spec_of
from edgekd.training.sample_inputs import as_arrays, sample_inputs
from edgekd.training.weights import weights_digest

Arrays = dict[str, NDArray[Any]]


def prepare(
    model: nn.Module,
    target: str,
    samples: Any,
    *,
    keep_float: Sequence[str] = (),
    ranges: Literal["ema", "lsq"] = "ema",
) -> qat.Simulated:
    """Return a copy of `model` that computes as a target (or a scheme) does: a plain module, to be trained in any loop.

    Its activation ranges are those that `samples` show (see `sample_inputs`); in training they follow the data until
    `freeze_observers`, or are learned (`lsq`). `keep_float` are globs over layers. Raises BadInputError, naming the
    line, for a model that cannot be exported.
    """
    scheme, batches = _scheme(target), sample_inputs(samples, model)
    prepared = qat.prepare(model, scheme, batches[0], keep_float)
    qat.calibrate(prepared, batches)
    if ranges == "lsq":
        qat.learn_steps(prepared)
    return prepared


def freeze_observers(prepared: nn.Module) -> None:
    """Hold activation ranges still, so that weights adapt to what will be deployed: from half of the training on."""
    qat.enable_observers(prepared, False)


def recalibrate_batchnorm(model: nn.Module, samples: Any, count: int = PARITY_INPUTS) -> None:
    """Set the statistics of batch norms that train to those of `samples`: after training, before the export.

    Their running statistics lag behind the weights, and saw augmented samples.
    """
    qat.recalibrate_batchnorm(model, sample_inputs(samples, model, count))


def export(
    model: Quantized | nn.Module | Path | str,
    target: str,
    out: Path | str = "bundles",
    *,
    samples: Any = None,
    precision: Precision = "int8",
    name: str | None = None,
    keep_float: Sequence[str] = (),
    task: str | Task | None = None,
) -> Path:
    """Write the bundle for a target, prove its parity where it can run here, and return its folder.

    `model` is what `quantize` or `prepare` returned, any float module, or an ONNX file; all but the first need some
    `samples` of its inputs. In int8 a float model is calibrated; where it is far from float its costliest tensors stay
    in float. `task` is what it was taught, which `quantize` knows itself: the bundle is judged and scored by that.
    Warns where the bundle could not be proven, as without the target's runtime, or is of another precision.
    Raises BadInputError when the target's scheme is another, PromiseBrokenError when parity does not hold.
    """
    wishes = Wishes(keep_float=keep_float, task=None if task is None else find_task(task))
    usual = "student" if isinstance(model, Quantized) else "model"
    folder, called = Path(out), require_file_name(name or usual, "name")
    if isinstance(model, Quantized | qat.Simulated) and precision != "int8":
        raise BadInputError(f"it is quantised; for the precision {precision} export the float model")
    if not isinstance(model, Quantized) and samples is None:
        raise BadInputError("export(…, samples=…): some of the model's inputs are needed to calibrate and to prove it")
    if isinstance(model, Quantized):
        report = _export_quantized(model, target, folder, called)
    elif isinstance(model, qat.Simulated):
        report = _export_simulated(model, target, folder, called, samples, wishes.task)
    elif isinstance(model, nn.Module):
        report = _export_float(model, target, folder, called, samples, precision, wishes)
    else:
        report = _export_file(Path(model), target, folder, samples, precision, wishes)
    if report["status"] == "unverified":
        warnings.warn(f"{report['bundle']} is written, but not proven: {report['reason']}", stacklevel=2)
    if report["status"] == "fallback":
        warnings.warn(f"{report['bundle']} is {report['precision']}, not int8: {report['reason']}", stacklevel=2)
    return Path(report["bundle"])


def evaluate(
    bundle: Path | str,
    data: tuple[Any, Any],
    metric: str | Metric | Callable[[Any, Any], float] | None = None,
    device: str = "local:",
) -> EvalResult:
    """Return what a bundle is worth on a device, on data (inputs, labels); inputs are an array, or several by name.

    `metric` is a name, `module:function`, or a function of the outputs and the labels; without one the task's own.
    Outputs are an array, of several a dictionary by name. Errors as in `measure.Session`.
    """
    folder, (inputs, labels) = Path(bundle), data
    manifest, labels = load_bundle(folder), np.asarray(labels)
    given = _by_name(manifest, inputs)
    for name, array in given.items():
        same_count(array, labels, name, "labels")
    with closing(open_device(device)) as place:
        answers = _answers(place, folder, manifest, given)
        if callable(metric) and not isinstance(metric, Metric):
            outputs = joined([found for _, found in answers])
            found = outputs if len(outputs) > 1 else next(iter(outputs.values()))
            own = Scale(getattr(metric, "__name__", "metric"), unit="")
            return EvalResult(own, float(metric(found, labels)), len(labels), None)
        chosen = _metric(metric, manifest)
        rows = [chosen.rows(found, labels[part], part.start) for part, found in answers]
        return EvalResult(chosen.scale, chosen.score(np.concatenate(rows)), len(labels), None)


def benchmark(bundle: Path | str, device: str = "local:", **settings: Any) -> dict[str, Any]:
    """Latency (ms), throughput and memory of a bundle; `settings` are those of `edgekd bench`."""
    return bench_bundles([Path(bundle)], device, **settings)[0]


def _scheme(target: str) -> Scheme:
    return find_scheme(target) if target in SCHEMES else schemes_of([load_target(target)])[0]


def _require_scheme(scheme: Scheme, target: str, advice: str) -> None:
    chip = load_target(target)
    if chip.scheme != scheme.name:
        raise BadInputError(f"the student is quantised for {scheme.name}, {chip.name} needs {advice}")


def _export_quantized(quantized: Quantized, target: str, out: Path, name: str) -> ExportReport:
    chip, data = load_target(target), quantized.data
    _require_scheme(quantized.scheme, target, f"quantize(…, scheme={chip.scheme!r})")
    inputs = model_inputs(data.val.inputs[:PARITY_INPUTS], data.preprocessing)
    return export_and_verify(
        Expected.of(quantized.graph, inputs),
        chip,
        out / f"{name}-{chip.name}",
        name=name,
        provenance={"student_sha256": weights_digest(quantized.student)},
        preprocessing=data.told_preprocessing,
        labels=data.classes if data.task.by_class else (),
        ranges={} if data.input_range is None else {"input": data.input_range},
        task=spec_of(data.task),
    )


def _export_simulated(
    prepared: qat.Simulated, target: str, out: Path, name: str, samples: Any, task: Task | None
) -> ExportReport:
    chip = load_target(target)
    _require_scheme(prepared.scheme, target, f"prepare(…, target={chip.name!r})")
    batches = sample_inputs(samples, prepared.network, PARITY_INPUTS)
    graph = qat.export_qdq(prepared, batches[0], prepared.scheme, fixed_length=True)
    inputs = as_arrays(prepared.network, batches)
    ranges = {key: range_of(array) for key, array in inputs.items() if array.dtype.kind == "f"}
    expected = Expected.of(graph, inputs)
    return export_and_verify(
        expected,
        chip,
        out / f"{name}-{chip.name}",
        name=name,
        provenance={"student_sha256": weights_digest(prepared)},
        ranges=ranges,
        **told_of(task, expected.outputs),
    )


def _export_float(
    model: nn.Module, target: str, out: Path, name: str, samples: Any, precision: Precision, wishes: Wishes
) -> ExportReport:
    batches = sample_inputs(samples, model, PARITY_INPUTS)
    graph, inputs = qat.export_float(model, batches[0], fixed_length=True), as_arrays(model, batches)
    origin = {"model_sha256": weights_digest(model)}
    chip = load_target(target)
    if precision != "int8":
        return write_precision(
            graph, chip, out / f"{name}-{chip.name}", inputs, precision, name=name, provenance=origin,
            task=wishes.task,
        )  # fmt: skip
    return export_graph(graph, inputs, chip, out, wishes, name, origin)


def _export_file(
    path: Path, target: str, out: Path, samples: Any, precision: Precision, wishes: Wishes
) -> ExportReport:
    source = _source(samples)
    if precision == "int8":
        return export_file(path, [target], out, source, wishes)[0]
    chip = load_target(target)
    imported = import_file(path, chip.scheme, source, wishes)
    if imported.quantized:
        raise BadInputError(f"{path}: it is quantised; the precision {precision} is for float models")
    return write_precision(
        imported.model, chip, out / f"{path.stem}-{chip.name}", imported.inputs, precision,
        name=path.stem, provenance={"source": path.name, "source_sha256": sha256(path)}, task=wishes.task,
    )  # fmt: skip


def _source(samples: Any) -> Samples:
    """Where samples come from; arrays stay where they are."""
    if isinstance(samples, str | Path):
        return NpzSamples(Path(samples))
    given = samples if isinstance(samples, Mapping) else {"input": samples}
    return GivenSamples("samples", {str(name): np.asarray(value) for name, value in given.items()})


def _by_name(manifest: Manifest, inputs: Any) -> Arrays:
    """Inputs as they are given, by the names that the bundle has for them."""
    names = [spec.name for spec in manifest.inputs]
    if isinstance(inputs, Tensor | np.ndarray):
        inputs = {names[0]: inputs}
    if not isinstance(inputs, Mapping) and len(inputs) != len(names):
        raise BadInputError(f"{manifest.name} takes {', '.join(names)}; data has {len(inputs)} arrays")
    given = inputs if isinstance(inputs, Mapping) else dict(zip(names, inputs, strict=True))
    if missing := [name for name in names if name not in given]:
        raise BadInputError(f"{manifest.name} takes {', '.join(names)}; data has no {', '.join(missing)}")
    return {name: np.asarray(given[name]) for name in names}


def _answers(place: Device, folder: Path, manifest: Manifest, given: Arrays) -> Iterator[tuple[slice, Arrays]]:
    """What a device answers, some samples at a time; they alone are copied to what the bundle takes."""
    ones = [array[:1] for array in given.values()]
    for part in chunks(max(map(len, given.values())), ones, manifest.batch):
        stored = {spec.name: _stored(spec, given[spec.name][part]) for spec in manifest.inputs}
        answers = predict(place, folder, stored, manifest.batch)
        outputs = {spec.name: from_bundle(spec, answers[spec.name]) for spec in manifest.outputs}
        require_finite(outputs, place.uri, part.start)
        yield part, outputs


def _stored(spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    """Inputs as a bundle takes them."""
    return to_bundle(spec, as_taken(array, spec.preprocessing) if spec.preprocessing else array)


def _metric(metric: str | Metric | None, manifest: Manifest) -> Metric:
    if isinstance(metric, Metric):
        return metric
    if metric is not None:
        return asked_metric(metric, manifest)
    if manifest.task is None:
        raise BadInputError(
            f"{manifest.name} does not say what it was taught: evaluate(…, metric=…), or export(…, task=…)"
        )
    if ":" in manifest.task.name:
        raise BadInputError(
            f"{manifest.name} was taught {manifest.task.name}, code that a bundle may not call: "
            "evaluate(…, metric=the task's own)"
        )
    return find_task(manifest.task.name, manifest.task.options).metric
