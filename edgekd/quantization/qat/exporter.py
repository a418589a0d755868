"""A torch model as torch's exporter writes it to ONNX, or one line that says why it cannot."""

import io
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

import edgekd
from edgekd.errors import BadInputError
from edgekd.networks import Inputs, call, each, input_names, named_outputs, tensors_of
from edgekd.quantization.qat.translations import hastened
from edgekd.quantization.qat.watch import Watched

Translations = Mapping[Callable[..., Any], Callable[..., Any]]

_OTHERS = (str(Path(torch.__file__).parents[1]), str(Path(edgekd.__file__).parent))
_ADVICE = "make it independent of tensor values: no if, loop, len() or Python number computed from a tensor"


def to_onnx(
    model: nn.Module, example: Inputs, *, fixed_length: bool, translations: Translations | None = None
) -> onnx.ModelProto:
    """Export a model on the CPU for any batch size: input "input", outputs "logits" (then "logits_1", …).

    Several inputs are called as the model's parameters, the outputs of a dictionary as its keys.

    The length of tokens, int64 (N, L), is free too, unless it is fixed to the example's. `translations` are the
    exporter's words for operators of our own. Raises BadInputError, with the line of the model that is to blame, where
    torch cannot export it, and where it would hold for some batch sizes only.
    """
    batch = each(example, _two_samples)
    for tensor in model.parameters():
        # Channels-last weights would leave their strides in the graph.
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    with torch.no_grad():
        outputs = call(model, batch)
    plain = isinstance(batch, Tensor) and isinstance(outputs, (Tensor, tuple, list))
    free = tuple(_free(value, fixed_length) for value in tensors_of(batch))
    try:
        with _silence(), hastened():
            program = torch.onnx.export(
                (_One if plain else _Flat)(model, batch),
                tuple(tensors_of(batch)),
                dynamo=True,
                external_data=False,
                optimize=False,  # it would fold batch norms in float32
                verbose=False,
                input_names=input_names(model.network if isinstance(model, Watched) else model, batch),
                output_names=list(named_outputs(outputs)),
                dynamic_shapes=free if plain else {"flat": free},
                custom_translation_table={**_TRANSLATIONS, **(translations or {})},
            )
    except torch.onnx.OnnxExporterError as error:
        raise _refusal(error) from error
    assert program is not None
    assert program.exported_program is not None
    _check_batch(program.exported_program)
    exported: onnx.ModelProto = program.model_proto
    return exported


def _two_samples(example: Tensor) -> Tensor:
    """A batch of one would be taken for a constant."""
    return torch.cat([example, example])[:2].contiguous().cpu()


class _Flat(nn.Module):
    """A model that takes its inputs in a row and returns its outputs so; all of it is called as in the model itself."""

    _model: nn.Module

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        shared = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules", "training")
        vars(self).update({name: vars(model)[name] for name in shared if name in vars(model)}, _model=model)
        self._names = list(inputs) if isinstance(inputs, Mapping) else None

    def forward(self, *flat: Tensor) -> tuple[Tensor, ...]:
        """Call the model."""
        inputs = flat if self._names is None else dict(zip(self._names, flat, strict=True))
        return tuple(named_outputs(call(self._model, inputs)).values())


class _One(_Flat):
    """A model of one input, which returns its outputs as they are."""

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        """Call the model."""
        return self._model(x)


def _restrided(x: Any, size: Sequence[Any], stride: Sequence[int], storage_offset: int | None = None) -> Any:
    """Channels-last activations that are pooled leave a change of strides behind, which moves no value in ONNX."""
    from onnxscript import opset18 as op  # heavy: only an export pays for it
    from onnxscript.function_libs.torch_lib.ops.core import aten_as_strided

    if not storage_offset and x.shape is not None and _keeps_order(list(x.shape), size, stride):
        return op.Identity(x)
    return aten_as_strided(x, size, stride, storage_offset or 0)


def _median(x: Any, dim: int, keepdim: bool = False) -> tuple[Any, Any]:
    """The lower of the two in the middle, and its place, as torch has it."""
    from onnxscript import opset18 as op

    count = (x.shape[dim] + 1) // 2
    found = op.TopK(x, op.Constant(value_ints=[count]), axis=dim, largest=0)
    bounds = [op.Constant(value_ints=[bound]) for bound in (count - 1, count, dim)]
    values, places = (op.Slice(each, *bounds) for each in found)
    return (values, places) if keepdim else (op.Squeeze(values, bounds[2]), op.Squeeze(places, bounds[2]))


_TRANSLATIONS: Translations = {torch.ops.aten.as_strided.default: _restrided, torch.ops.aten.median.dim: _median}


def _keeps_order(shape: Sequence[Any], size: Sequence[Any], stride: Sequence[int]) -> bool:
    """Whether a tensor of `shape`, seen with `size` and `stride`, is itself; only the first size may be unknown."""
    if len(shape) != len(size) or list(shape[1:]) != list(size[1:]) or not all(isinstance(n, int) for n in shape[1:]):
        return False
    first = [n for n in (*shape[:1], *size[:1]) if isinstance(n, int)]
    if len(first) == 1 or len(set(first)) > 1:
        return False
    step = 1
    for count, given in zip(reversed(shape), reversed(stride), strict=True):
        if count != 1:
            if given != step:
                return False
            step *= count if isinstance(count, int) else 1
    return True


def _free(batch: Tensor, fixed_length: bool) -> dict[int, torch.export.Dim]:
    """The axes whose size an exported model leaves open."""
    axes = ["batch"] if fixed_length or batch.is_floating_point() else ["batch", "length"]
    return {axis: torch.export.Dim(name) for axis, name in enumerate(axes)}


def _check_batch(program: torch.export.ExportedProgram) -> None:
    """The exporter narrows the range of a batch's size, without a word, to where a model's branches go one way."""
    user = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"}
    for given in program.graph.nodes:
        if given.op == "placeholder" and given.name in user:
            _check_size(given.meta["val"].shape[0], program)


def _check_size(size: Any, program: torch.export.ExportedProgram) -> None:
    if isinstance(size, int):
        raise BadInputError(f"the model fixes its batch to {size} samples; let its code take any number of them")
    limits = program.range_constraints.get(size.node.expr) if size.node.expr.is_symbol else None
    if not size.node.expr.is_symbol or (limits is not None and str(limits.upper) != "int_oo"):
        bound = f"up to {limits.upper} samples" if limits is not None else f"batches of {size.node.expr}"
        raise BadInputError(f"the model's code branches on the size of its batch: the file would hold for {bound} only")


def _refusal(error: BaseException) -> BadInputError:
    """What stopped the exporter, with the last line of the model's own code on the way there."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OTHERS)]
    where = f"{frames[-1].filename}:{frames[-1].lineno}: `{frames[-1].line}`: " if frames else ""
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    advice = f"; {_ADVICE}" if "data-dependent" in reason else ""
    return BadInputError(f"{where}torch cannot export this: {reason}{advice}")


@contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's notes on what it skips and tries."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
