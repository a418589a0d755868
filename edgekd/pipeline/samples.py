"""Labelled samples for a bundle that exists, checked against what its manifest says of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekd.bundle import Manifest, TensorSpec
from edgekd.data._named import packed
from edgekd.data.check import numbers, same_count
from edgekd.data.dataset import Array, Split, resized
from edgekd.data.ranges import hold_against, range_of
from edgekd.data.sources import Rows, shown
from edgekd.errors import BadInputError
from edgekd.metrics import Metric, find_metric
from edgekd.outputs import LOGITS, first, one
from edgekd.pipeline.labelled import Inputs, read_labelled
from edgekd.progress import Reporter
from edgekd.tasks import DEFAULT, Task, find_task, spec_of


def require_data_for(metric: str | None, data: Path | None) -> None:
    """Raise BadInputError where a metric is named and nothing is there to be scored by it."""
    if metric is not None and data is None:
        raise BadInputError("--metric says how --data is scored: name the samples, too")


def read_samples(
    path: Path, manifest: Manifest, reporter: Reporter, any_range: bool = False, metric: str | None = None
) -> tuple[Split, Metric]:
    """Return samples and labels of what `read_labelled` takes, and their metric.

    Several inputs become one structured array. The metric is the bundle's task's, which checks the labels, or one that
    is named; one that the task has is the task's, with its options.

    Raises BadInputError where they do not suit the bundle, or where its outputs cannot be scored by labels.
    """
    given, y, labels = read_labelled(path, manifest, reporter)
    for name, inputs in given.items():
        same_count(inputs, labels, f"{path}: {name}", y)
    task = _task(manifest, labels, f"{path}: {y}") if metric is None or _own_metric(metric, manifest) else None
    found = asked_metric(metric, manifest) if metric is not None else (task or DEFAULT).metric
    checked: dict[str, Inputs] = {}
    for source, (name, inputs) in zip(manifest.inputs, given.items(), strict=True):
        where = f"{path}: {name}"
        checked[source.name] = _suited(inputs, source, where)
        if source.range is not None and source.is_real:
            seen = range_of(shown(checked[source.name]))
            hold_against(seen, source.range, where, "training or calibration inputs", reporter.warn, any_range)
    samples = packed(checked, str(path)) if len(checked) > 1 else next(iter(checked.values()))
    if task is None:
        return Split(samples, labels), found
    if manifest.task is None and not any(spec.labels for spec in manifest.outputs):
        reporter.warn(f"{manifest.name} does not say what it was taught: scored as classification, unless by --metric")
    width = next(iter(_output(task, manifest).sample_shape), 1)
    labels = task.check(labels, f"{path}: {y}", width)
    task.check_inputs(labels, samples.shape[1:], f"{path}: {y}")
    if why := task.unscorable(labels):
        raise BadInputError(f"{path}: {y} scores nothing: {why}")
    return Split(samples, labels), found


def asked_metric(name: str, manifest: Manifest) -> Metric:
    """Return a metric by name or `module:object`, of the outputs as the bundle's task reads them; errors as there."""
    if own := _own_metric(name, manifest):
        return own
    metric, task = find_metric(name), _builtin_task(manifest)
    return metric if task is None else task.scored_by(metric)


def _builtin_task(manifest: Manifest) -> Task | None:
    """What the bundle was taught; None where it does not say, or names code that a bundle may not call."""
    spec = manifest.task
    return None if spec is None or ":" in spec.name else find_task(spec.name, spec.options)


def _own_metric(name: str, manifest: Manifest) -> Metric | None:
    """The metric of this built-in name with the options that the bundle was taught with; None where it has none."""
    task = None if ":" in name else _builtin_task(manifest)
    return next((own for own in task.metrics if own.name == find_metric(name).name), None) if task else None


def _task(manifest: Manifest, labels: Array, where: str) -> Task:
    """What the bundle was taught; where it does not say, classes. Its output has to fit the samples' labels."""
    spec = manifest.task or spec_of(DEFAULT)
    if ":" in spec.name:
        why = "code that a bundle may not call; name its metric, --metric module:object"
        raise BadInputError(f"{manifest.name} was taught {spec.name}, {why}")
    task = find_task(spec.name, spec.options)
    output, unclear = _output(task, manifest), len(manifest.outputs) > 1 and task.reads is None
    untold = f"; {manifest.name} does not say what it was taught: --metric names what it is scored by"
    advice = "" if manifest.task else untold
    try:
        found = task.check(labels, where)
    except BadInputError as error:
        raise BadInputError(f"{error}{advice}") from error
    fits = task.fits((len(found), *output.sample_shape), found)
    if (unclear and output.name != LOGITS) or not output.is_real or not fits:
        puts_out = ", ".join(map(_described, manifest.outputs))
        raise BadInputError(
            f"{manifest.name} puts out {puts_out}; it cannot be scored by labels {found.shape}: {task.outputs}{advice}"
        )
    return task


def _output(task: Task, manifest: Manifest) -> TensorSpec:
    """The output that a task reads."""
    found = {spec.name: spec for spec in manifest.outputs}
    return one(found, first(task.reads), type(task).__name__, manifest.name)


def _described(spec: TensorSpec) -> str:
    sizes = ("N", *("any" if size is None else str(size) for size in spec.sample_shape))
    return f"{spec.name} ({', '.join(sizes)}) of {spec.dtype}"


def _suited(given: Inputs, source: TensorSpec, where: str) -> Inputs:
    """Inputs in the shape that the model takes: tokens as integers, all else as numbers for its preprocessing.

    Of images that are read when they are asked for, some are looked at.
    """
    if not isinstance(given, Rows):
        return _suited_array(given, source, where)
    if given.dtype != np.uint8 or not source.is_real:
        return _suited_array(given[:], source, where)
    _suited_array(given.some(), source, where)
    return given


def _suited_array(inputs: Array, source: TensorSpec, where: str) -> Array:
    inputs, wanted = numbers(inputs, where), source.sample_shape
    if not source.is_real:
        return _integers(inputs, source, where)
    if inputs.dtype.kind != "f" and source.preprocessing is None:
        raise BadInputError(f"{where}: the bundle says nothing of preprocessing, so it must hold float model inputs")
    if inputs.dtype == np.uint8 and inputs.ndim == 3 and len(wanted) == 3:
        inputs = inputs[:, None]
    _require_shape(inputs, wanted, where)
    return inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32, copy=False)


def _integers(inputs: Array, source: TensorSpec, where: str) -> Array:
    wanted = source.sample_shape
    if inputs.dtype.kind not in "iu":
        raise BadInputError(f"{where} is {inputs.dtype}; the model takes {source.dtype}")
    if len(wanted) == 1 and inputs.ndim == 2:  # tokens
        if inputs.min() < 0:
            raise BadInputError(f"{where} holds the token {inputs.min()}: tokens are not negative")
        if source.vocabulary is not None and inputs.max() >= source.vocabulary:
            known = f"the model knows {source.vocabulary}, from 0"
            raise BadInputError(f"{where} holds the token {inputs.max()}: {known}")
        inputs = inputs if wanted[0] is None else resized(inputs, wanted[0])
    _require_shape(inputs, wanted, where)
    return inputs.astype(np.int64)


def _require_shape(inputs: Array, wanted: Sequence[int | None], where: str) -> None:
    found = inputs.shape[1:]
    if len(found) != len(wanted) or any(size not in (None, given) for size, given in zip(wanted, found, strict=True)):
        shown = ", ".join("any" if size is None else str(size) for size in wanted)
        raise BadInputError(f"{where} has shape {inputs.shape}; the model takes (N, {shown})")
