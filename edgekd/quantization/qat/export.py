"""Torch models written as ONNX: float, or QDQ with the scales that training found."""

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.quantization.clean import clean
from edgekd.quantization.onnx_view import view_of
from edgekd.quantization.placement import share_moved
from edgekd.quantization.qat.fake_quant import ObservingQuantizer, QuantizedLayer, Quantizer
from edgekd.quantization.qdq import insert_activations, quantize_weights, strip_activations
from edgekd.quantization.scheme import Scheme


@torch.library.custom_op("edgekd::mark", mutates_args=())
def mark(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Stands for Q and DQ in the exporter's graph; the value passes through."""
    return x.clone()


@mark.register_fake
def _(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    return torch.empty_like(x)


class Mark(nn.Module):
    """A quantiser whose scale and zero point are settled."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        scale, zero_point = quantizer.affine()
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("zero_point", zero_point.to(getattr(torch, quantizer.scheme.activation)))

    def forward(self, x: Tensor, source: int | None = None) -> Tensor:
        """Mark x."""
        marked: Tensor = torch.ops.edgekd.mark(x, self.scale, self.zero_point)
        return marked


def export_float(model: nn.Module, example: Tensor, *, fixed_length: bool = False) -> onnx.ModelProto:
    """The model as it evaluates: input "input", outputs "logits" (then "logits_1", …), norms folded.

    The batch is free, and so is the length of tokens, int64 (N, L), unless it is fixed to the example's.
    """
    return clean(_export(_twin(model), example, fixed_length))


def export_qdq(prepared: nn.Module, example: Tensor, scheme: Scheme, *, fixed_length: bool = False) -> onnx.ModelProto:
    """A prepared model as QDQ: the observed activation scales, weights and biases rounded after batch norm folding.

    Sizes are as in `export_float`. Raises BadInputError when a range was never observed or is not finite.
    """
    twin = _twin(prepared)
    # A batch norm that no layer takes in becomes a convolution, whose weights int8 holds exactly.
    kinds = (QuantizedLayer, nn.BatchNorm1d, nn.BatchNorm2d)
    layers = {name for name, module in twin.named_modules() if isinstance(module, kinds)}
    for name, module in list(twin.named_modules()):
        if isinstance(module, QuantizedLayer):
            module.simulating = False
        elif isinstance(module, Quantizer):
            twin.set_submodule(name, Mark(_settled(name, module)))
    plain, parameters = strip_activations(clean(_export(twin, example, fixed_length)))
    parameters = share_moved(view_of(plain), parameters)  # what is one call in torch may be several nodes in ONNX
    return quantize_weights(insert_activations(plain, parameters, scheme), scheme, layers)


def _twin(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, on the CPU: the example and the constants of the file are there."""
    return copy.deepcopy(model).cpu().eval()


def _settled(name: str, quantizer: Quantizer) -> Quantizer:
    if isinstance(quantizer, ObservingQuantizer) and not quantizer.count.all():
        raise BadInputError(f"{name}: no range was observed; train the prepared model or calibrate it first")
    if not quantizer.affine()[0].isfinite():
        raise BadInputError(f"{name}: the observed range is not finite")
    return quantizer


def _export(model: nn.Module, example: Tensor, fixed_length: bool) -> onnx.ModelProto:
    batch = torch.cat([example, example])[:2].contiguous().cpu()  # a batch of one would be taken for a constant
    for tensor in model.parameters():
        # Channels-last weights would leave their strides in the graph.
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    with torch.no_grad():
        outputs = model(batch)
    count = len(outputs) if isinstance(outputs, (tuple, list)) else 1
    names = ["logits", *(f"logits_{index}" for index in range(1, count))]
    try:
        with _silence():
            program = torch.onnx.export(
                model,
                (batch,),
                dynamo=True,
                external_data=False,
                optimize=False,  # it would fold batch norms in float32
                verbose=False,
                input_names=["input"],
                output_names=names,
                dynamic_shapes=(_free(batch, fixed_length),),
                custom_translation_table=_translations(),
            )
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__ or error
        raise BadInputError(f"torch cannot export {type(model).__name__}: {str(cause).splitlines()[0]}") from error
    assert program is not None
    exported: onnx.ModelProto = program.model_proto
    return exported


def _free(batch: Tensor, fixed_length: bool) -> dict[int, torch.export.Dim]:
    """The axes whose size an exported model leaves open."""
    axes = ["batch"] if fixed_length or batch.is_floating_point() else ["batch", "length"]
    return {axis: torch.export.Dim(name) for axis, name in enumerate(axes)}


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    from onnxscript import opset18 as op  # heavy: only an export pays for it

    def translate(x: Any, scale: Any, zero_point: Any) -> Any:
        return op.DequantizeLinear(op.QuantizeLinear(x, scale, zero_point), scale, zero_point)

    return {torch.ops.edgekd.mark.default: translate}


@contextmanager
def _silence() -> Iterator[None]:
    """Without the exporter's notes on what it skips."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
