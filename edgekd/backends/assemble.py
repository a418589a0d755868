"""A bundle, put together: compiled model, golden samples, runner, README and the manifest that hashes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from edgekd.backends import find_backend
from edgekd.backends.alternatives import compile_for
from edgekd.backends.compiled import PLAIN, Compiled, Precision
from edgekd.backends.conversion import to_bundle
from edgekd.backends.pages import page
from edgekd.backends.parity import cost
from edgekd.backends.reference import output_steps
from edgekd.backends.replaced_folder import replaced_folder
from edgekd.bundle import GOLDEN, MANIFEST, LayerLoss, Manifest, Preprocessing, Range, TensorSpec, identify
from edgekd.errors import BadInputError
from edgekd.files import write_json
from edgekd.onnx_vocabulary import vocabulary
from edgekd.quantization.qdq import declared_scheme
from edgekd.runner.bundle import write_arrays
from edgekd.runner.judge import float_step
from edgekd.runner_source import RUNNER, write_runner
from edgekd.runtimes import find_needs, find_runtime
from edgekd.schema import TaskSpec
from edgekd.target import Target

Array = NDArray[Any]

README = "README.md"
GOLDEN_SAMPLES = 32
GOLDEN_BYTES = 4_000_000
NPZ_OVERHEAD = 1_000  # headers of one array, bytes


def write_bundle(
    model: onnx.ModelProto,
    target: Target,
    folder: Path,
    precision: Precision,
    *,
    name: str,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    unquantized: Mapping[str, Array] | None = None,
    provenance: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Sequence[str] = (),
    metrics: Mapping[str, float] | None = None,
    ranges: Mapping[str, Range] | None = None,
    task: TaskSpec | None = None,
    layers: Sequence[LayerLoss] = (),
    notes: Sequence[str] = (),
) -> Manifest:
    """Compile `model` and write a whole bundle, which replaces the one in `folder`.

    `inputs` are samples as the model takes them (float, NCHW), `outputs` the reference's answers to them: the first
    few become golden, all of them set the steps of float outputs. `unquantized` is what the float model answers,
    `labels` are the names of the classes; without them nothing is known to be classified. `ranges` are
    those of the raw inputs that the model was trained or calibrated on, `layers` what quantising has cost each. `notes`
    come before those of the backend.
    Raises BadInputError, MissingExtraError.
    """
    backend = find_backend(target.backend)
    known = getattr(backend, "PRECISIONS", PLAIN)
    if precision not in known:
        raise BadInputError(f"backend {target.backend} has no precision {precision}: choose {' or '.join(known)}")
    with replaced_folder(folder) as scratch:
        compiled = compile_for(model, target, scratch, precision)
        manifest = Manifest(
            name=name,
            target=target.name,
            precision=precision,
            model=compiled.model,
            inputs=tuple(_described_input(model, spec, preprocessing, ranges or {}) for spec in compiled.inputs),
            outputs=described_outputs(model, compiled, outputs, labels, unquantized),
            files={},
            tolerance=_tolerance(target.backend, labels),
            provenance=dict(provenance or {}),
            metrics=dict(metrics or {}),
            task=task,
            footprint=dict(compiled.footprint),
            layers=tuple(layers),
            notes=(*notes, *compiled.notes),
            profile=target.profile,
            scheme=declared_scheme(model) or target.scheme,
            **target.model_dump(include={"backend", "batch", "threads", "affinity", "runtime"}),
        )
        write_golden(scratch / GOLDEN, manifest, inputs, outputs)
        return _sealed(scratch, manifest, compiled.files)


def _described_input(
    model: onnx.ModelProto, spec: TensorSpec, preprocessing: Preprocessing | None, ranges: Mapping[str, Range]
) -> TensorSpec:
    """An input with what raw values become it, and which values it may take."""
    known = None if spec.is_real else vocabulary(model, spec.name)
    told = {"preprocessing": preprocessing, "range": ranges.get(spec.name), "vocabulary": known}
    return spec.model_copy(update=told)


def _tolerance(backend: str, labels: Sequence[str]) -> dict[str, float]:
    """What parity allows an output; where no classes are known, none have to agree."""
    allowed = find_runtime(backend).TOLERANCE
    return {kind: least for kind, least in allowed.items() if kind != "agreement" or labels}


def described_outputs(
    model: onnx.ModelProto,
    compiled: Compiled,
    outputs: Mapping[str, Array],
    labels: Sequence[str],
    unquantized: Mapping[str, Array] | None = None,
) -> tuple[TensorSpec, ...]:
    """The outputs with what parity judges them by, and the class names on the one that has as many columns."""
    quantizer_steps = output_steps(model)
    described = []
    for spec in compiled.outputs:
        reference = outputs[spec.name]
        step = quantizer_steps[spec.name] or (float_step(reference) if reference.dtype.kind == "f" else None)
        classes = tuple(labels) if labels and spec.sample_shape[:1] == (len(labels),) else None
        noise = cost(reference, unquantized[spec.name]) if unquantized and spec.name in unquantized else None
        described.append(spec.model_copy(update={"step": step, "noise": noise, "labels": classes}))
    if labels and not any(spec.labels for spec in described):
        raise BadInputError(f"{len(labels)} labels, but no output has {len(labels)} columns")
    return tuple(described)


def write_golden(path: Path, manifest: Manifest, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """The first samples, as many as 32 and 4 MB hold, in the bundle's own types; raise BadInputError without any."""
    sources = [("input", spec, inputs) for spec in manifest.inputs]
    sources += [("output", spec, outputs) for spec in manifest.outputs]
    first = {
        f"{kind}:{spec.name}": to_bundle(spec, values[spec.name][:GOLDEN_SAMPLES]) for kind, spec, values in sources
    }
    available = min(len(array) for array in first.values())
    if not available:
        raise BadInputError("a bundle needs at least one golden sample")
    per_sample = sum(array[:1].nbytes for array in first.values())
    count = max(1, min(available, (GOLDEN_BYTES - NPZ_OVERHEAD * len(first)) // per_sample))
    write_arrays(path, {key: array[:count] for key, array in first.items()})


def _sealed(folder: Path, manifest: Manifest, compiled: tuple[str, ...]) -> Manifest:
    """Add what leaves with every model, and the manifest with the hashes of all of it."""
    write_runner(manifest.backend, folder)
    needs = find_needs(manifest.backend, manifest.runtime)
    (folder / README).write_text(page(README, manifest=manifest, needs=needs), encoding="utf-8")
    sealed = manifest.model_copy(update={"files": identify(folder, [*compiled, GOLDEN, RUNNER, README])})
    write_json(folder / MANIFEST, sealed.model_dump(mode="json"))
    return sealed
