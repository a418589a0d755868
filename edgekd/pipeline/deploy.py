"""COMPILE and MEASURE, as stages: one seed's graphs become bundles, and devices say what became of them."""

import shutil
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekd.backends import find_backend
from edgekd.backends.assemble import write_bundle
from edgekd.backends.compiled import PLAIN, Precision
from edgekd.backends.losses import layer_losses
from edgekd.backends.reference import Reference, reference_graph
from edgekd.bundle import MANIFEST, LayerLoss, Range, load_bundle
from edgekd.data.dataset import Dataset, Split, model_inputs
from edgekd.data.sources import Joined
from edgekd.devices import Device, open_device, transport_of
from edgekd.errors import (
    BadInputError,
    DeviceError,
    EdgekdError,
    MissingExtraError,
    MissingRuntimeError,
    NothingToGainError,
)
from edgekd.files import sha256
from edgekd.measure.protocol import Options
from edgekd.measure.stand_in import stand_in_on
from edgekd.metrics import Metric, Scale
from edgekd.outputs import chosen, each, joined
from edgekd.package_data import EXPORT
from edgekd.pipeline.documents import KernelsDocument, TargetDocument, VariantDocument
from edgekd.pipeline.faults import forgiven
from edgekd.pipeline.parity_evidence import PARITY_INPUTS, Expected, chunks_on, gather_evidence
from edgekd.pipeline.stages import Stages
from edgekd.pipeline.timing import Candidates, time_variants
from edgekd.pipeline.variants import FLOAT, INT8, VariantSelector, float_mismatch
from edgekd.progress import Reporter
from edgekd.quantization.qdq import strip_activations
from edgekd.recipe import Recipe
from edgekd.reporting.run_record import TargetRecord
from edgekd.runner_source import parts_of
from edgekd.runtimes import source_of
from edgekd.target import Target
from edgekd.tasks import Task, spec_of

Array = NDArray[Any]


@dataclass(frozen=True)
class DeployContext:
    """What deploying one seed's graphs needs; `graphs` holds the file of `float` and of each scheme.

    `only_calibrated` are the schemes that were not fine-tuned, since no device executes them.
    """

    recipe: Recipe
    data: Dataset
    stages: Stages
    reporter: Reporter
    graphs: Mapping[str, Path]
    provenance: Mapping[str, Any]
    only_calibrated: Collection[str] = ()
    _answers: dict[str, dict[str, Array]] = field(default_factory=dict)

    def parity_inputs(self, graph: str) -> dict[str, Array]:
        """Validation samples as the model takes them, by the graph's input name."""
        raw = self.data.val.inputs[:PARITY_INPUTS]
        return model_inputs(raw, self.data.preprocessing, self.model(graph).graph.input[0].name)

    def ranges(self, graph: str) -> dict[str, Range]:
        """That of the raw training inputs, by the graph's input name; tokens have none."""
        found = self.data.input_range
        return {} if found is None else {self.model(graph).graph.input[0].name: found}

    def answers(self, graph: str, backend: str | None = None) -> dict[str, Array]:
        """The reference's outputs for them, as a backend is held against it."""
        model = self.model(graph)
        held = reference_graph(model, backend) if backend else model
        key = graph if held is model else f"{graph}, {backend}"
        if key not in self._answers:
            self._answers[key] = Reference(held).run(self.parity_inputs(graph), batch=256)
        return self._answers[key]

    def unquantized(self, graph: str) -> dict[str, Array] | None:
        """What the graph's own weights answer with float activations; None for the float graph.

        The student before fine-tuning is another network, and no yardstick.
        """
        if graph == FLOAT:
            return None
        key = f"{graph}, unquantized"
        if key not in self._answers:
            plain = strip_activations(self.model(graph))[0]
            self._answers[key] = Reference(plain).run(self.parity_inputs(graph), batch=256)
        return self._answers[key]

    def losses(self, graph: str) -> tuple[LayerLoss, ...]:
        """What quantising has cost the graph, layer by layer; of the float graph nothing."""
        return () if graph == FLOAT else layer_losses(self.model(graph), self.parity_inputs(graph))

    def model(self, graph: str) -> onnx.ModelProto:
        """The ONNX graph."""
        return onnx.load(self.graphs[graph])


def deploy(context: DeployContext, target: Target, references: Mapping[str, float], timed: bool) -> TargetRecord:
    """Return one target's record; `references` are the reference's metrics by graph, for what is not executed."""
    return TargetRecord.parse(_deployed(context, target, references, timed), target.name)


def _deployed(context: DeployContext, target: Target, references: Mapping[str, float], timed: bool) -> TargetDocument:
    uri = context.recipe.devices.get(target.name)
    entry: TargetDocument = {"backend": target.backend, "scheme": target.scheme, "device": uri, "status": "unverified"}
    try:
        bundles = bundles_of(context, target, references)
        entry |= _unexecuted(bundles, target, references)
        if footprint := load_bundle(bundles["int8"]).footprint:
            entry["footprint"] = footprint
        if uri is None:
            return entry | _ahead_of_time(context, target)
        with closing(open_device(uri)) as device:
            stand_in = stand_in_on(device, target.backend)
            found = _execute(context, target, bundles, device, timed and stand_in is None)
            return entry | found | {"reason": found["reason"] or stand_in}
    except (BadInputError, DeviceError, MissingExtraError) as error:
        return entry | _without(context.recipe, target, error)


def _without(recipe: Recipe, target: Target, error: EdgekdError) -> TargetDocument:
    """What is left of a target that something was missing for; an optional one is as one without a device."""
    found: TargetDocument = {"reason": str(error), "again": True}
    if isinstance(error, forgiven(recipe, target.name)):
        return found | {"status": "skipped", "device": None}
    if isinstance(error, MissingExtraError | MissingRuntimeError):
        return found | {"status": "skipped"}
    return found | {"status": "failed", "lost": isinstance(error, DeviceError)}


def bundles_of(context: DeployContext, target: Target, references: Mapping[str, float]) -> dict[str, Path]:
    """A bundle for each precision of the target's backend that makes a difference."""
    bundles = {}
    for precision in getattr(find_backend(target.backend), "PRECISIONS", PLAIN):
        with suppress(NothingToGainError):
            bundles[precision] = _bundle(context, target, precision, references)
    return bundles


def _bundle(context: DeployContext, target: Target, precision: Precision, references: Mapping[str, float]) -> Path:
    name = bundle_name(target.name, precision)
    folder, graph = context.stages.folder / name, target.scheme if precision == INT8 else FLOAT
    # What approximates the float graph may differ from it as far as int8 does.
    beside = context.unquantized(graph) if precision in PLAIN else context.answers(target.scheme, target.backend)

    def work(_: str) -> None:
        write_bundle(
            context.model(graph), target, folder, precision, name=context.recipe.name,
            inputs=context.parity_inputs(graph), outputs=context.answers(graph, target.backend), unquantized=beside,
            provenance=context.provenance, preprocessing=context.data.told_preprocessing,
            labels=context.data.classes if context.data.task.by_class else (),
            metrics={context.data.metric.name: references[graph]} if precision in PLAIN else {},
            ranges=context.ranges(graph), task=spec_of(context.data.task), layers=context.losses(graph),
        )  # fmt: skip

    inputs = {
        "graph": sha256(context.graphs[graph]),
        "target": target.model_dump(mode="json"),
        "provenance": dict(context.provenance),
        "ranges": {name: found.model_dump(mode="json") for name, found in context.ranges(graph).items()},
    }
    context.stages.run(f"bundle-{target.name}-{precision}", inputs, work, (name,), code=_code(target), data=(EXPORT,))
    return folder


def bundle_name(target: str, precision: str) -> str:
    """Where a run folder holds a target's bundle of a precision."""
    return f"bundles/{target}" + ("" if precision == INT8 else f"-{precision}")


def _unexecuted(bundles: Mapping[str, Path], target: Target, references: Mapping[str, float]) -> TargetDocument:
    metrics = {INT8: references[target.scheme], FLOAT: references[FLOAT]}
    variants: dict[str, VariantDocument] = {
        label: {"bytes": load_bundle(bundles[label]).model_bytes, "metric": metric, "latency_ms": None}
        for label, metric in metrics.items()
        if label in bundles
    }
    return {
        "metric": metrics[INT8], "metric_source": "reference", "variants": variants, "int8_pays": None, "best": None,
        "advice": None, "notes": list(load_bundle(bundles[INT8]).notes),
    }  # fmt: skip


def _ahead_of_time(context: DeployContext, target: Target) -> TargetDocument:
    """What a backend can say of a graph that no device has run."""
    check = getattr(find_backend(target.backend), "check", None)
    reason = "the recipe names no device for this target"
    if target.scheme in context.only_calibrated:
        reason += ", so its int8 is calibrated, not fine-tuned"
    if check is None:
        return {"reason": f"not executed: {reason}"}
    try:
        inputs = {"graph": sha256(context.graphs[target.scheme]), "backend": target.backend}
        found = context.stages.run(
            f"check-{target.name}", inputs, lambda _: check(context.model(target.scheme)), code=_code(target)
        )
    except (MissingExtraError, DeviceError) as error:
        return {"reason": f"not executed: {reason}; nor checked ahead of time: {error}", "again": True}
    told = f"checked ahead of time, not executed: {reason}; {found['label']}"
    return {"reason": told, "kernels": {"int8": found["int8"], "total": found["total"]}}


def _execute(
    context: DeployContext, target: Target, bundles: Mapping[str, Path], device: Device, timed: bool
) -> TargetDocument:
    parity = _parity(context, target, bundles[INT8], device)
    variants = _variants(context, target, bundles, device)
    variants[INT8]["broken"] = parity["broken"] or parity["weak"]
    refused = [INT8] if parity["broken"] else []
    refused += [label for label in bundles if label != INT8 and variants[label]["broken"]]
    telemetry = None
    if timed:
        times = time_variants(
            context.stages, target, candidates_of(target, bundles), device, context.recipe.benchmark, context.reporter
        )
        telemetry = times[INT8].get("telemetry")
        variants = {
            times[name]["label"]: {**row, "latency_ms": times[name]["latency"]} for name, row in variants.items()
        }
    for label in refused:  # or `edgekd verify`, which has fewer inputs, might approve of it
        shutil.rmtree(bundles[label])
    max_drop = context.recipe.quantization.max_drop
    verdict = judged(variants, max_drop, context.data.metric, weak=not parity["broken"])
    reason = verdict["reason"] or parity["warning"]
    return {**_seen(parity), **verdict, "reason": reason, "telemetry": telemetry, "again": bool(refused)}


def judged(variants: dict[str, VariantDocument], max_drop: float, scale: Scale, weak: bool) -> TargetDocument:
    """`fallback`: int8 broke its promise, or is too `weak` to be proven, and another variant is there to ship."""
    selector, broken = VariantSelector(variants, max_drop, scale), variants[INT8]["broken"]
    best = selector.best
    shown = best if broken and best else INT8
    bad = "fallback" if best else "unverified" if weak else "failed"
    return {
        "status": bad if broken else "ok", "reason": broken, "variants": variants,
        "metric": variants[shown]["metric"], "metric_source": "device",
        "int8_pays": selector.pays, "best": best, "advice": selector.advice,
    }  # fmt: skip


def _seen(parity: "_Parity") -> TargetDocument:
    return {"parity": parity["rows"], "layers": parity["layers"], "kernels": parity["kernels"]}


class _Parity(TypedDict):
    """What a device made of a bundle: rows as `parity.ParityRow`, layers as `LayerProof`, in JSON."""

    rows: list[dict[str, object]]
    layers: dict[str, object] | None
    broken: str | None
    weak: str | None
    warning: str | None
    kernels: KernelsDocument


class _Trial(TypedDict):
    """A variant's metric on the validation and the test split; why it is not what it should be."""

    val: float
    metric: float
    broken: str | None


def _parity(context: DeployContext, target: Target, bundle: Path, device: Device) -> _Parity:
    """What the device made of the bundle: why parity is broken, or too weak to tell."""
    scheme = target.scheme

    def work(_: str) -> _Parity:
        inputs, outputs = context.parity_inputs(scheme), context.answers(scheme, target.backend)
        expected = Expected(context.model(scheme), inputs, outputs, context.unquantized(scheme))
        evidence = gather_evidence(device, bundle, target, expected, context.reporter)
        return {
            "rows": [row.model_dump(mode="json") for row in evidence.rows],
            "layers": evidence.layers.model_dump(mode="json") if evidence.layers else None,
            "broken": evidence.broken,
            "weak": evidence.weak,
            "warning": evidence.kernels.warning,
            "kernels": {"int8": evidence.kernels.int8, "total": evidence.kernels.total},
        }

    graph = sha256(context.graphs[scheme])
    key = {"bundle": _identity(bundle), "device": device.uri, "data": context.data.digest(), "graph": graph}
    found: _Parity = context.stages.run(f"parity-{target.name}", key, work, code=_code(target, device))
    return found


def _variants(
    context: DeployContext, target: Target, bundles: Mapping[str, Path], device: Device
) -> dict[str, VariantDocument]:
    """Each variant's metric on val, by which it is chosen, and on test; and why it is not what it should be."""
    rows: dict[str, VariantDocument] = {}
    candidates, common = candidates_of(target, bundles), {"device": device.uri, "data": context.data.digest()}
    with context.reporter.track(f"testing {target.name}", total=len(candidates)) as bar:
        for label, (bundle, options) in candidates.items():
            key = {"bundle": _identity(bundle), "options": dict(options), **common}

            def work(_: str, bundle: Path = bundle, options: Options = options) -> _Trial:
                return _trial(context, device, bundle, options)

            trial: _Trial = context.stages.run(
                f"trial-{target.name}-{label}", key, work, code=_code(target, device, context.data.task)
            )
            rows[label] = {
                "bytes": load_bundle(bundle).model_bytes, "metric": trial["metric"], "latency_ms": None,
                "val": trial["val"], "broken": trial["broken"],
            }  # fmt: skip
            bar.advance(note=label)
    return rows


def _trial(context: DeployContext, device: Device, bundle: Path, options: Options) -> _Trial:
    """Count what it answers chunk by chunk: neither all inputs nor all answers are in memory."""
    data, precision = context.data, load_bundle(bundle).precision
    # What a runtime makes of float by an option is reported, not gated.
    gated = PARITY_INPUTS if precision != INT8 and not options else 0
    val, test = _Counted(data.metric, data.val), _Counted(data.metric, data.test, begin=len(data.val))
    inputs, held, finite = Joined(data.val.inputs, data.test.inputs), list[Mapping[str, Array]](), True
    for part, answers in chunks_on(device, bundle, inputs, data.preprocessing, options):
        if part.start < gated:
            held.append(each(answers, itemgetter(slice(gated - part.start))))
        read = chosen(answers, data.task.reads, type(data.task).__name__, bundle.name)
        seen = read.values() if isinstance(read, dict) else [read]
        finite = finite and all(np.isfinite(values).all() for values in seen)
        known = each(read, np.nan_to_num)  # a broken variant's metric decides nothing
        val.add(part, known)
        test.add(part, known)
    broken = None if finite else "its output is not finite"
    if finite and held:
        broken = _mismatch(context, joined(held), precision)
    return {"val": val.score, "metric": test.score, "broken": broken}


@dataclass(frozen=True)
class _Counted:
    """What a metric counts of a split, whose samples `begin` somewhere in what a device is given."""

    metric: Metric
    split: Split
    begin: int = 0
    rows: list[Array] = field(default_factory=list)

    def add(self, part: slice, answers: Any) -> None:
        """Count the answers to a part of what is given, as far as they are the split's."""
        start, stop = max(part.start, self.begin), min(part.stop, self.begin + len(self.split))
        if start < stop:
            found = each(answers, itemgetter(slice(start - part.start, stop - part.start)))
            first = start - self.begin
            self.rows.append(self.metric.rows(found, self.split.labels[first : stop - self.begin], first))

    @property
    def score(self) -> float:
        """The number."""
        return self.metric.score(np.concatenate(self.rows))


def _mismatch(context: DeployContext, answers: Mapping[str, Array], precision: str) -> str | None:
    """Why some output to the first samples is not that of the float graph; None where all are."""
    pairs = zip(answers.values(), context.answers(FLOAT).values(), strict=True)
    by_class = context.data.task.by_class and len(answers) == 1
    found = (float_mismatch(rows[: len(reference)], reference, precision, by_class) for rows, reference in pairs)
    return next(filter(None, found), None)


def candidates_of(target: Target, bundles: Mapping[str, Path]) -> Candidates:
    """What competes on a target: int8, float, and what else the backend's runtime makes of the float model."""
    others: Mapping[str, Options] = getattr(find_backend(target.backend), "FLOAT_VARIANTS", {})
    candidates: dict[str, tuple[Path, Options]] = {label: (folder, {}) for label, folder in bundles.items()}
    return candidates | {label: (bundles[FLOAT], options) for label, options in others.items()}


def _code(target: Target, device: Device | None = None, task: Task | None = None) -> tuple[str, ...]:
    """The modules that make and judge a target's bundles, on a device and by a task's metric."""
    transport = [transport_of(device.uri)] if device else []
    return (__name__, f"{source_of(target.backend)}.compile", *parts_of(target.backend), *transport)


def _identity(bundle: Path) -> str:
    return sha256(bundle / MANIFEST)
