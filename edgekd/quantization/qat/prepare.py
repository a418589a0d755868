"""A float torch model made ready for quantisation-aware training."""

from collections.abc import Iterable

import torch
from torch import Tensor, fx, nn

from edgekd.quantization.placement import Placement, place
from edgekd.quantization.qat.device import device_of
from edgekd.quantization.qat.example_ranges import example_ranges
from edgekd.quantization.qat.fake_quant import (
    FixedQuantizer,
    ObservingQuantizer,
    Quantizer,
    only_observing,
    quantized_layer,
)
from edgekd.quantization.qat.fx_view import view_of
from edgekd.quantization.qat.trace import Traced, trace
from edgekd.quantization.scheme import Scheme
from edgekd.quantization.view import View

QUANTIZERS = "edgekd_quantizers"


class Boundary(nn.Module):
    """Where a container module of the user's returned: hooks on its name see its output, as before."""

    def forward(self, x: Tensor) -> Tensor:
        """X itself."""
        return x


def prepare(model: nn.Module, scheme: Scheme, example: Tensor, keep_float: Iterable[str] = ()) -> fx.GraphModule:
    """A trainable copy of `model` that simulates `scheme`; its submodules keep their names, parameters and hooks.

    `example` is a batch of inputs, to try the result on. `keep_float` are globs over module and node names.
    Raises BadInputError when the model cannot be traced.
    """
    traced = trace(model)
    view, makers = view_of(traced.module)
    placement = _placed(traced, view, makers, scheme, tuple(keep_float), example)
    modules = dict(_called_modules(traced))
    modules |= {name: quantized_layer(modules[name], scheme) for name in placement.weights}
    modules |= {f"{QUANTIZERS}.{group}": quantizer for group, quantizer in _quantizers(placement, scheme).items()}
    last = _insert_quantizers(traced, placement, makers)
    _insert_boundaries(traced, last)
    modules |= {path: Boundary() for path, _ in traced.returns}
    prepared = fx.GraphModule(modules, traced.module.graph, type(model).__name__).train(model.training)
    device = device_of(model)
    _try(prepared.to(device), example.to(device))
    return prepared


def _placed(
    traced: Traced, view: View, makers: dict[str, fx.Node], scheme: Scheme, keep_float: tuple[str, ...], example: Tensor
) -> Placement:
    """The placement; where Concats are, the example decides which of them join unlike ranges."""
    placement = place(view, scheme, keep_float)
    if not placement.joined:
        return placement
    return place(view, scheme, keep_float, example_ranges(traced.module, makers, placement.observed, example))


def calibrate(prepared: fx.GraphModule, batches: Iterable[Tensor]) -> None:
    """Set the activation ranges from batches of inputs, computed in float; nothing is trained."""
    with only_observing(prepared), torch.no_grad():
        for batch in batches:
            prepared(batch.to(device_of(prepared)))


def _called_modules(traced: Traced) -> Iterable[tuple[str, nn.Module]]:
    for node in traced.module.graph.nodes:
        if node.op == "call_module":
            yield node.target, traced.module.get_submodule(node.target)
        elif node.op == "get_attr":
            parent, _, name = node.target.rpartition(".")
            yield node.target, getattr(traced.module.get_submodule(parent), name)


def _quantizers(placement: Placement, scheme: Scheme) -> dict[int, Quantizer]:
    sources = [placement.groups[edge] for edge in placement.observed]
    quantizers: dict[int, Quantizer] = {group: ObservingQuantizer(scheme, sources.count(group)) for group in sources}
    for edge, affine in placement.fixed.items():
        quantizers[placement.groups[edge]] = FixedQuantizer(scheme, affine)
    return quantizers


def _insert_quantizers(traced: Traced, placement: Placement, makers: dict[str, fx.Node]) -> dict[fx.Node, fx.Node]:
    """Put a call behind the maker of each edge; returns the last node behind each maker."""
    seen: list[int] = []
    last = {}
    for edge, group in placement.groups.items():
        source = None
        if edge in placement.observed:
            source = seen.count(group)
            seen.append(group)
        last[makers[edge]] = _call_behind(traced.module.graph, makers[edge], f"{QUANTIZERS}.{group}", source)
    return last


def _insert_boundaries(traced: Traced, last: dict[fx.Node, fx.Node]) -> None:
    for path, node in traced.returns:
        last[node] = _call_behind(traced.module.graph, last.get(node, node), path)


def _call_behind(graph: fx.Graph, node: fx.Node, target: str, *arguments: int | None) -> fx.Node:
    with graph.inserting_after(node):
        call = graph.create_node("call_module", target, (node, *arguments))
    node.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)
    return call


def _try(prepared: fx.GraphModule, example: Tensor) -> None:
    """Fail now rather than in the middle of an epoch."""
    training = prepared.training
    with torch.no_grad():
        prepared.eval()(example)
    prepared.train(training)
