"""Qualcomm's HTP: a QDQ graph at one batch size, what its compiler prepared for one chip, and where it all computes."""

import shutil
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from math import floor
from pathlib import Path

import onnx

from edgekd.backends.compiled import Compiled, Precision
from edgekd.backends.onnx_file import at_batch, tensor_specs, write_onnx
from edgekd.backends.placement import PLACEMENT, PlacedOp, Placement
from edgekd.backends.qnn.compiler import SOURCE, TOLD, compiled
from edgekd.backends.qnn.placement import Places, compiled_for, read_places, told
from edgekd.backends.qnn.rewrites import integer_borders, part_activations
from edgekd.backends.qnn.runtime import CONTEXT, Qnn, chip
from edgekd.bundle import TensorSpec, identify
from edgekd.errors import BadInputError, MissingExtraError
from edgekd.files import write_json
from edgekd.onnx_graph import inferred
from edgekd.quantization.ranges import Affine
from edgekd.runner.errors import RunnerError
from edgekd.runner.runtime import check_options, plain
from edgekd.target import Target

PRECISIONS: tuple[Precision, ...] = ("int8",)
NAMED = 3  # operations in a refusal or a note
ON_DEVICE = frozenset({"68"})  # contexts of which a device takes only its own (microsoft/onnxruntime#26686)


def compile(model: onnx.ModelProto, target: Target, folder: Path, precision: Precision) -> Compiled:  # noqa: A001
    """Write `model.onnx` at the target's batch alone, `context.onnx` for its chip, and `placement.json`.

    Raises BadInputError for a chip that there is not, and, naming nodes and reasons, for a graph of which more than the
    target allows would be left to the CPU, or layers to float16; MissingExtraError without the compiler.
    """
    options, name = _options(target)
    if find_spec("onnxruntime_qnn") is None:
        raise MissingExtraError("qnn")
    bordered, borders = integer_borders(model) if target.io == "int8" else (model, {})
    static = inferred(at_batch(part_activations(bordered), target.batch))
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
        work = Path(scratch)
        write_onnx(static, work / SOURCE)
        places = _placed(static, work, options, name, target)
        shutil.copyfile(work / SOURCE, folder / SOURCE)
        if options["htp_arch"] not in ON_DEVICE:
            shutil.copyfile(work / CONTEXT, folder / CONTEXT)
    context = identify(folder, [CONTEXT])[CONTEXT] if (folder / CONTEXT).exists() else None
    placement = Placement(
        source="the HTP's own compiler",
        accelerator=f"HTP v{options['htp_arch']} of {name}",
        model=identify(folder, [SOURCE])[SOURCE],
        compiled=context,
        islands=places.islands,
        ops=places.ops,
    )
    write_json(folder / PLACEMENT, placement.model_dump(mode="json"))
    inputs, outputs = (tuple(_spec(each, borders) for each in specs) for specs in tensor_specs(static))
    files = (SOURCE, *([CONTEXT] if context else []), PLACEMENT)
    return Compiled(SOURCE, files, inputs, outputs, _notes(places), {"context_bytes": context.bytes} if context else {})


def _spec(spec: TensorSpec, borders: Mapping[str, Affine]) -> TensorSpec:
    """An input or output with what its integers stand for."""
    return spec.model_copy(update=borders[spec.name]._asdict()) if spec.name in borders else spec


def _options(target: Target) -> tuple[dict[str, str], str]:
    """What the runtime is told, and the chip that it names."""
    options = {key: plain(value) for key, value in target.runtime.items()}
    try:
        check_options(target.backend, Qnn.OPTIONS, options)
        return options, chip(options.get("htp_arch", ""), options.get("soc_model", ""))
    except RunnerError as error:
        raise BadInputError(f"target {target.name}: {error}") from error


def _placed(model: onnx.ModelProto, work: Path, options: dict[str, str], name: str, target: Target) -> Places:
    arch = options["htp_arch"]
    refusal = compiled(work, arch, options["soc_model"], options.get("cpu", "refused"))
    places = read_places(model, work / TOLD)
    if places.islands and compiled_for(work / TOLD) != arch:
        raise BadInputError(f"the HTP's compiler was asked for v{arch}, but did not compile for it")
    if refusal and not places.islands:
        raise BadInputError(refusal)
    if places.share < target.npu_share or (refusal and places.faults):
        taken = f"HTP v{arch} of {name} takes {places.share:.1%} of the model, {target.npu_share:.1%} required"
        leave = f"npu_share = {floor(100 * places.share) / 100} and runtime.cpu = 'allowed' in the target file allow it"
        raise BadInputError(f"{taken}: {_named(places.faults)}; {leave}")
    if refusal:
        raise BadInputError(refusal)
    return places


def _named(ops: tuple[PlacedOp, ...]) -> str:
    more = f" and {len(ops) - NAMED} more" if len(ops) > NAMED else ""
    return "; ".join(map(told, ops[:NAMED])) + more


def _notes(places: Places) -> tuple[str, ...]:
    """What is not in integers on the NPU, and that a model is in parts."""
    left = tuple(dict.fromkeys((*places.faults, *places.in_float)))
    parts = f"in {places.islands} parts on the NPU" if places.islands > 1 else ""
    return tuple(filter(None, (parts, _named(left) if left else "")))
