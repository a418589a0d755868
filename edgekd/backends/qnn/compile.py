"""Qualcomm's HTP: a QDQ graph at one batch size, what its compiler prepared for one chip, and where it all computes."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import floor
from pathlib import Path

import onnx

from edgekd.backends.compiled import Compiled, Precision
from edgekd.backends.onnx_file import tensor_specs, write_onnx
from edgekd.backends.placement import PLACEMENT, PlacedOp, Placement
from edgekd.backends.qnn.compiler import SOURCE, TOLD, compiled
from edgekd.backends.qnn.placement import Places, compiled_for, read_places, told
from edgekd.backends.qnn.rewrites import integer_borders, part_activations
from edgekd.backends.qnn.runtime import CONTEXT, Qnn, chip_name
from edgekd.bundle import File, TensorSpec, identify
from edgekd.errors import BadInputError, MissingExtraError
from edgekd.files import write_json
from edgekd.onnx_graph import at_batch, inferred
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
    chip = _chip(target)
    if find_spec("onnxruntime_qnn") is None:
        raise MissingExtraError("qnn")
    bordered, borders = integer_borders(model) if target.io == "int8" else (model, {})
    static = inferred(at_batch(part_activations(bordered), target.batch))
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
        work = Path(scratch)
        write_onnx(static, work / SOURCE)
        places, qairt = _placed(static, work, chip, target.npu_share)
        files = [SOURCE, *([] if chip.arch in ON_DEVICE else [CONTEXT])]
        for name in files:
            shutil.copyfile(work / name, folder / name)
    written = identify(folder, files)
    write_json(folder / PLACEMENT, _placement(chip, places, qairt, written).model_dump(mode="json"))
    inputs, outputs = (tuple(_spec(each, borders) for each in specs) for specs in tensor_specs(static))
    footprint = {"context_bytes": written[CONTEXT].bytes} if CONTEXT in written else {}
    return Compiled(SOURCE, (*files, PLACEMENT), inputs, outputs, _notes(places), footprint)


@dataclass(frozen=True)
class _Chip:
    """What is compiled for, as the vendor's library is told; `cpu` may be allowed to compute the rest."""

    name: str
    arch: str
    soc: str
    cpu: str


def _chip(target: Target) -> _Chip:
    options = {key: plain(value) for key, value in target.runtime.items()}
    arch, soc = options.get("htp_arch", ""), options.get("soc_model", "")
    try:
        check_options(target.backend, Qnn.OPTIONS, options)
        return _Chip(chip_name(arch, soc), arch, soc, options.get("cpu", "refused"))
    except RunnerError as error:
        raise BadInputError(f"target {target.name}: {error}") from error


def _spec(spec: TensorSpec, borders: Mapping[str, Affine]) -> TensorSpec:
    """An input or output with what its integers stand for."""
    return spec.model_copy(update=borders[spec.name]._asdict()) if spec.name in borders else spec


def _placement(chip: _Chip, places: Places, qairt: str, written: Mapping[str, File]) -> Placement:
    return Placement(
        source=f"the HTP's compiler of QAIRT {qairt}",
        accelerator=f"HTP v{chip.arch} of {chip.name}",
        model=written[SOURCE],
        compiled=written.get(CONTEXT),
        islands=places.islands,
        ops=places.ops,
    )


def _placed(model: onnx.ModelProto, work: Path, chip: _Chip, least: float) -> tuple[Places, str]:
    """Where all of the model is, and the version of the compiler that put it there."""
    refusal, qairt = compiled(work, chip.arch, chip.soc, chip.cpu)
    places = read_places(model, work / TOLD)
    if refusal and not places.islands:
        raise BadInputError(refusal)
    if places.islands and compiled_for(work / TOLD) != chip.arch:
        raise BadInputError(f"the HTP's compiler was asked for v{chip.arch}, but did not compile for it")
    if places.share < least or (refusal and places.faults):
        taken = f"HTP v{chip.arch} of {chip.name} takes {places.share:.1%} of the model, {least:.1%} required"
        leave = f"npu_share = {floor(100 * places.share) / 100} and runtime.cpu = 'allowed' in the target file allow it"
        raise BadInputError(f"{taken}: {_named(places.faults)}; {leave}")
    if refusal:
        raise BadInputError(refusal)
    return places, qairt


def _named(ops: tuple[PlacedOp, ...]) -> str:
    more = f" and {len(ops) - NAMED} more" if len(ops) > NAMED else ""
    return "; ".join(map(told, ops[:NAMED])) + more


def _notes(places: Places) -> tuple[str, ...]:
    """What is not in integers on the NPU, and that a model is in parts."""
    left = tuple(dict.fromkeys((*places.faults, *places.in_float)))
    parts = f"in {places.islands} parts on the NPU" if places.islands > 1 else ""
    return tuple(filter(None, (parts, _named(left) if left else "")))
