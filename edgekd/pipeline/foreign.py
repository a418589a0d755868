"""A foreign ONNX file → bundles: float models are calibrated, QDQ models of the target's scheme keep their scales."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from edgekd.backends.alternatives import require_taken
from edgekd.data.ranges import range_of
from edgekd.errors import BadInputError, EdgekdError, PromiseBrokenError, RefusedByTargetError
from edgekd.files import sha256
from edgekd.onnx_import.batch import static_batch
from edgekd.onnx_import.normalize_qdq import FLOAT_ORIGINAL
from edgekd.onnx_import.samples import Samples
from edgekd.pipeline.calibrated import batches_of, lost_by_layer
from edgekd.pipeline.exchange import Mix, mix_by_rate
from edgekd.pipeline.export import export_and_verify, told_of
from edgekd.pipeline.fallback import fall_back
from edgekd.pipeline.imported import Arrays, Imported, Wishes, import_file
from edgekd.pipeline.parity_evidence import Expected, affordable, in_float
from edgekd.pipeline.pays import speed_here
from edgekd.pipeline.refined import (
    Widened,
    all_in_float,
    cut_short,
    described,
    refine_where_far,
    rows_of,
    widen_where_far,
)
from edgekd.quantization.calibrate import Calibration, Calibrator
from edgekd.quantization.exchange import Boundaries
from edgekd.quantization.float_fallback import asked_layers
from edgekd.quantization.layer_graph import layer_graph
from edgekd.quantization.qdq import is_quantized, strip_activations
from edgekd.quantization.refine import SECONDS, Refined
from edgekd.quantization.scheme import Scheme, schemes_of
from edgekd.reading import reading
from edgekd.reporting.exported import ExportReport
from edgekd.target import Target, load_target

Report = ExportReport
Origin = Mapping[str, str]
Refusal = BadInputError | PromiseBrokenError
Advise = Callable[[str, EdgekdError], str]
"""A target as it was asked for and why it refused → the command to type next, if there is one."""


@dataclass(frozen=True)
class Quantized:
    """What is expected of a QDQ model, the float one it must resemble, and what was done where int8 was far from it."""

    expected: Expected
    original: onnx.ModelProto
    refined: Refined | None = None
    widened: Widened | None = None
    mix: Mix | None = None

    @property
    def about(self) -> list[str]:
        """What was done, in lines."""
        told = [described(self.refined)] if self.refined else []
        return [*told, *map(str, filter(None, (self.widened, self.mix)))]


def export_file(
    path: Path,
    target_names: Sequence[str],
    out: Path,
    samples: Samples | None = None,
    wishes: Wishes | None = None,
    *,
    layers: bool = False,
    timed: bool = False,
    advise: Advise | None = None,
) -> list[Report]:
    """Write `out/<model>-<target>` for each target and prove it on this machine; `unverified` where it cannot run.

    Where int8 is far from a float model, its costliest tensors stay in float. Where that is not enough another
    precision is written: the status is `fallback`. `layers` adds what each layer loses, and the graph of them. The
    samples are looked at once for all targets, each scheme is calibrated once; one of several that refuses the model
    says so in its report (`refused`, `failed`), with what `advise` has to say of it (`next`). `timed` adds how what was
    written compares with float on this machine (`speed`).
    Raises BadInputError for a model or data that cannot be used, PromiseBrokenError when parity does not hold.
    """
    targets, wishes = [load_target(name) for name in target_names], wishes or Wishes()
    how = Calibration(**wishes.options)
    imported = import_file(path, targets[0].scheme, samples, wishes)
    calibrator = None if imported.quantized else Calibrator(imported.model, batches_of(imported.inputs), how)
    if imported.quantized and len({target.scheme for target in targets}) > 1:
        raise BadInputError("it is quantised for one scheme: name targets of that scheme alone")
    origin, known = {"source": path.name, "source_sha256": sha256(path)}, dict[Scheme, Quantized]()
    found: list[Report | Refusal] = []
    for target in targets:
        try:
            with reading(path, "a model that can be calibrated"):
                quantized = _quantized(imported, target, calibrator, wishes, known)
            report = _written(path.stem, origin, target, out, imported, quantized, wishes)
        except (BadInputError, PromiseBrokenError) as error:
            if len(targets) == 1:
                raise
            error.__traceback__ = error.__cause__ = error.__context__ = None  # their frames hold the model
            found.append(error)
        else:
            report |= _lost(imported, quantized, how) if layers else {}
            report |= _timed(report, quantized, target, imported.inputs) if timed else {}
            found.append(report)
    written = {each["target"]: each["bundle"] for each in found if isinstance(each, dict)}
    return [
        each if isinstance(each, dict) else _refused(each, named, target.name, written, advise)
        for named, target, each in zip(target_names, targets, found, strict=True)
    ]


def export_graph(
    graph: onnx.ModelProto, inputs: Arrays, target: Target, out: Path, wishes: Wishes, name: str, origin: Origin
) -> Report:
    """Write `out/<name>-<target>` of a float graph that was exported here, and prove it, as `export_file`."""
    ranges = {key: range_of(array) for key, array in inputs.items() if array.dtype.kind == "f"}
    imported = Imported(graph, quantized=False, inputs=inputs, ranges=ranges, notes=())
    calibrator = Calibrator(graph, batches_of(inputs), Calibration(**wishes.options))
    return _written(name, origin, target, out, imported, _quantized(imported, target, calibrator, wishes, {}), wishes)


def _refused(error: Refusal, named: str, target: str, written: Mapping[str, str], advise: Advise | None) -> Report:
    """Why one of several targets has no bundle, and what to type, beside those that were `written`."""
    if isinstance(error, RefusedByTargetError):
        error.beside(written)
    status = "refused" if isinstance(error, BadInputError) else "failed"
    report: Report = {"target": target, "status": status, "reason": str(error)}
    if step := advise(named, error) if advise else "":
        report["next"] = step
    return report


def _may_fall_back(scheme: Scheme, wishes: Wishes) -> bool:
    return bool(wishes.refine_seconds) and scheme.float_tail


def _lost(imported: Imported, quantized: Quantized, how: Calibration) -> Report:
    original = None if imported.quantized else quantized.original
    model = quantized.expected.model
    lost = lost_by_layer(model, next(batches_of(imported.inputs)), original, how)
    return {"layers": lost, "graph": [asdict(node) for node in layer_graph(model)]}


def _timed(report: Report, quantized: Quantized, target: Target, inputs: Arrays) -> Report:
    """What runs here beside the float model; of that itself there is nothing to say."""
    ran = report["status"] != "unverified" or report.get("parity")
    if not ran or report.get("precision") == "float":
        return {}
    speed = speed_here(Path(report["bundle"]), quantized.original, target, inputs)
    if speed is None:
        return {}
    ratio = round(speed.ratio, 2)
    return {"speed": {"ours_ms": speed.ours_ms, "float_ms": speed.float_ms, "pays": speed.pays, "ratio": ratio}}


def _quantized(
    imported: Imported, target: Target, calibrator: Calibrator | None, wishes: Wishes, known: dict[Scheme, Quantized]
) -> Quantized:
    """The model in the target's scheme; QDQ must resemble its own weights with float activations."""
    if calibrator is None:
        original = strip_activations(imported.model, saturating=True)[0]
        return Quantized(_expected(imported.model, original, imported.inputs), original)
    require_taken(calibrator.plain, target)
    (scheme,) = schemes_of([target])
    if scheme not in known:
        known[scheme] = _in_scheme(scheme, imported, calibrator, wishes)
    return known[scheme] if wishes.mixed_db is None else _mixed(known[scheme], scheme, target, calibrator, wishes)


def _mixed(found: Quantized, scheme: Scheme, target: Target, calibrator: Calibrator, wishes: Wishes) -> Quantized:
    """With layers in float by what they cost on the target's runtime, until the outputs are as near as is asked."""
    assert wishes.mixed_db is not None
    if not scheme.float_tail or scheme.wider is not None:
        raise BadInputError(f"--mixed: {target.name} computes no layer in float", hint="edgekd targets")
    mix = mix_by_rate(Boundaries(calibrator, scheme, wishes.keep_float), target, found.expected, wishes.mixed_db)
    return found if mix is None else Quantized(mix.expected, found.original, mix=mix)


def _in_scheme(scheme: Scheme, imported: Imported, calibrator: Calibrator, wishes: Wishes) -> Quantized:
    original, keep = imported.model, wishes.keep_float
    int8 = _expected(calibrator.quantized(scheme, keep), original, imported.inputs)
    widened = widen_where_far(calibrator, scheme, int8, keep)
    if widened is not None:
        return Quantized(widened.expected, original, widened=widened)
    if not _may_fall_back(scheme, wishes) or wishes.mixed_db is not None:
        return Quantized(int8, original)
    refined = refine_where_far(calibrator, scheme, int8, keep, wishes.refine_seconds)
    if refined is None:
        return Quantized(int8, original)
    expected = Expected.of(refined.model, int8.inputs, int8.unquantized, refined.outputs)
    return Quantized(expected, original, refined)


def _expected(model: onnx.ModelProto, original: onnx.ModelProto, inputs: Arrays) -> Expected:
    inputs = affordable(model, inputs)
    return Expected.of(model, inputs, in_float(original, inputs))


def _written(
    name: str, origin: Origin, target: Target, out: Path, imported: Imported, quantized: Quantized, wishes: Wishes
) -> Report:
    """The bundle's report; where not even refined int8 is proven, that of another precision of a float model."""
    refined, built_in = quantized.refined, static_batch(quantized.expected.model)
    may_fall_back = _may_fall_back(schemes_of([target])[0], wishes)
    target = target.at_batch(built_in) if built_in else target
    folder = out / f"{name}-{target.name}"
    named: dict[str, Any] = {"name": name, "provenance": origin, "notes": (*imported.notes, *quantized.about)}
    report: Report = {"refined": rows_of(refined)} if refined else {}
    report |= {"mixed": quantized.mix.row} if quantized.mix else {}
    try:
        _require_int8(quantized)
        expected = quantized.expected
        told = told_of(wishes.task, expected.outputs)
        report |= export_and_verify(expected, target, folder, ranges=imported.ranges, **told, **named)
        weak: str | None = report["reason"] if report["parity"] and refined else None  # else no precision says more
    except PromiseBrokenError as error:
        if imported.quantized:
            raise PromiseBrokenError(f"{error}: {FLOAT_ORIGINAL}") from error
        if not may_fall_back:
            raise PromiseBrokenError(str(error), hint=_search(target, wishes)) from error
        weak = str(error)
    if imported.quantized or weak is None or not may_fall_back:
        return report
    why = "; ".join([weak, *cut_short(refined)])
    known = quantized.expected
    return report | fall_back(
        quantized.original, target, folder, known.inputs, why=why, task=wishes.task, exact=known.unquantized, **named
    )


def _search(target: Target, wishes: Wishes) -> str:
    """What to type where int8 was refused and nothing else was tried: a search for what to keep in float, if it may."""
    may_search = schemes_of([target])[0].float_tail and not wishes.refine_seconds
    return f"edgekd export MODEL --refine {SECONDS:g}" if may_search else "edgekd targets"


def _require_int8(quantized: Quantized) -> None:
    """Raise PromiseBrokenError where there is nothing that int8 could take, or all of it had to stay in float."""
    int8, floats = asked_layers(quantized.expected.model)
    if not floats and not is_quantized(quantized.expected.model):
        raise PromiseBrokenError("nothing in it gains by int8: it has no layer with weights")
    if quantized.refined is not None and floats and not int8:
        raise PromiseBrokenError(all_in_float(quantized.refined, floats))
