"""Torch models written as ONNX: float, or QDQ with the scales that training found."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import onnx
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgekd.errors import BadInputError
from edgekd.networks import Inputs, bare, parameter_aliases
from edgekd.onnx_graph import Graph
from edgekd.quantization.clean import clean
from edgekd.quantization.onnx_view import view_of
from edgekd.quantization.placement import share_moved
from edgekd.quantization.qat.exporter import to_onnx
from edgekd.quantization.qat.fake_quant import ObservingQuantizer, Quantizer
from edgekd.quantization.qat.simulated import QUANTIZERS, Simulated
from edgekd.quantization.qdq import OPSETS, insert_activations, quantize_weights, strip_activations
from edgekd.quantization.scheme import Scheme

N = TypeVar("N", bound=nn.Module)


@torch.library.custom_op("edgekd::mark", mutates_args=())
def mark(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Stands for Q and DQ in the exporter's graph; the value passes through."""
    return x.clone()


@mark.register_fake
def _(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    return torch.empty_like(x)


class Mark(nn.Module):
    """A quantiser whose scale and zero point are fixed."""

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


def export_float(model: nn.Module, example: Inputs, *, fixed_length: bool = False) -> onnx.ModelProto:
    """The model as it evaluates, norms folded; inputs and outputs are called as in `exporter.to_onnx`.

    The batch is free, and so is the length of tokens, int64 (N, L), unless it is fixed to the example's.
    """
    return clean(to_onnx(_twin(bare(model)), example, fixed_length=fixed_length))


def export_qdq(prepared: Simulated, example: Inputs, scheme: Scheme, *, fixed_length: bool = False) -> onnx.ModelProto:
    """A prepared model as QDQ: the observed activation scales, weights and biases rounded after batch norm folding.

    Sizes are as in `export_float`. Raises BadInputError when a range was never observed or is not finite.
    """
    twin = _twin(prepared)
    # A batch norm that no layer takes in becomes a convolution, whose weights int8 holds exactly.
    norms = {name for name, module in twin.named_modules() if isinstance(module, _BatchNorm)}
    aliases = parameter_aliases(twin)
    layers = {alias.removesuffix(".weight") for name in twin.weights for alias in aliases[name]} | norms
    twin.rounds_weights = False
    for name, quantizer in twin.edgekd_quantizers.items():
        twin.edgekd_quantizers[name] = Mark(_observed(f"{QUANTIZERS}.{name}", quantizer))
    raw = Graph(to_onnx(twin, example, fixed_length=fixed_length, translations=_translations()))
    raw.raise_opset(OPSETS.get(scheme.activation, 0))
    plain, parameters = strip_activations(clean(raw.model()))
    parameters = share_moved(view_of(plain), parameters)  # what is one call in torch may be several nodes in ONNX
    return quantize_weights(insert_activations(plain, parameters, scheme), scheme, layers)


def _twin(model: N) -> N:
    """A copy in evaluation mode, on the CPU: the example and the constants of the file are there."""
    return copy.deepcopy(model).cpu().eval()


def _observed(name: str, quantizer: nn.Module) -> Quantizer:
    assert isinstance(quantizer, Quantizer)
    if isinstance(quantizer, ObservingQuantizer) and not quantizer.count.all():
        raise BadInputError(f"{name}: no range was observed; train the prepared model or calibrate it first")
    if not quantizer.affine()[0].isfinite():
        raise BadInputError(f"{name}: the observed range is not finite")
    return quantizer


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    from onnxscript import opset18 as op  # heavy: only an export pays for it

    def translate(x: Any, scale: Any, zero_point: Any) -> Any:
        return op.DequantizeLinear(op.QuantizeLinear(x, scale, zero_point), scale, zero_point)

    return {torch.ops.edgekd.mark.default: translate}
