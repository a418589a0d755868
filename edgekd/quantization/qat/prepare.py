"""A float torch model made ready for quantisation-aware training."""

import copy
import math
from collections.abc import Iterable

import onnx
import torch
from torch import nn

from edgekd.networks import Inputs, bare, call, device_of, parameter_aliases, to_device
from edgekd.onnx_graph import Graph
from edgekd.quantization.onnx_view import view_of
from edgekd.quantization.placement import Placement, place
from edgekd.quantization.qat.example_ranges import example_ranges
from edgekd.quantization.qat.fake_quant import FixedQuantizer, ObservingQuantizer, Quantizer
from edgekd.quantization.qat.simulated import Place, Simulated, only_observing
from edgekd.quantization.qat.tagged import Tags, tags_of
from edgekd.quantization.scheme import Scheme


def prepare(
    model: nn.Module, scheme: Scheme, example: Inputs, keep_float: Iterable[str] = (), tags: Tags | None = None
) -> Simulated:
    """A trainable copy of `model` that simulates `scheme`: its own code, submodules, names, parameters and hooks.

    What is rounded, and what shares a scale, is decided on the ONNX graph that torch makes of it from `example`, a
    batch of inputs. `keep_float` are globs over layers and edges of that graph; `tags` are what `tags_of` says of the
    model where that is known.
    Raises BadInputError when the model cannot be exported.
    """
    network = copy.deepcopy(bare(model))
    tags = tags or tags_of(network, example)
    placement = _placed(network, tags, scheme, tuple(keep_float), example)
    sources = _sources(placement, tags.calls)
    quantizers = {str(group): quantizer for group, quantizer in _quantizers(placement, sources, scheme).items()}
    places = {
        tags.calls[edge]: Place(str(group), sources[group].index(edge) if edge in sources.get(group, ()) else None)
        for edge, group in placement.groups.items()
        if edge in tags.calls
    }
    placed, aliases = {f"{layer}.weight" for layer in placement.weights}, parameter_aliases(network)
    weights = frozenset(name for name in tags.weights if not placed.isdisjoint(aliases[name]))
    prepared = Simulated(network, scheme, quantizers, places, weights, _ceilings(tags.graph, placement))
    return prepared.to(device_of(network))


def _placed(network: nn.Module, tags: Tags, scheme: Scheme, keep_float: tuple[str, ...], example: Inputs) -> Placement:
    """The placement; where Concats are, the example decides which of them join unlike ranges."""
    view = view_of(tags.graph)
    placement = place(view, scheme, keep_float)
    if not placement.joined:
        return placement
    shown = example_ranges(network, example)
    ranges = {edge: shown[tags.calls[edge]] for edge in placement.observed if edge in tags.calls}
    return place(view, scheme, keep_float, ranges)


def calibrate(prepared: Simulated, batches: Iterable[Inputs]) -> None:
    """Set the activation ranges from batches of inputs, computed in float; nothing is trained."""
    with only_observing(prepared), torch.no_grad():
        for batch in batches:
            call(prepared, to_device(batch, device_of(prepared)))


def _sources(placement: Placement, calls: dict[str, str]) -> dict[int, list[str]]:
    """Per group the edges whose ranges decide its own.

    One call may make several edges, of which the last alone is seen: it stands for those that are not.
    """
    free = [edge for edge in placement.groups if edge in calls and edge not in placement.fixed]
    sources: dict[int, list[str]] = {}
    for edge in free:
        if edge in placement.observed:
            sources.setdefault(placement.groups[edge], []).append(edge)
    for edge in free:
        sources.setdefault(placement.groups[edge], [edge])
    return sources


def _quantizers(placement: Placement, sources: dict[int, list[str]], scheme: Scheme) -> dict[int, Quantizer]:
    quantizers: dict[int, Quantizer] = {
        group: ObservingQuantizer(scheme, len(edges)) for group, edges in sources.items()
    }
    for edge, affine in placement.fixed.items():
        quantizers[placement.groups[edge]] = FixedQuantizer(scheme, affine)
    return quantizers


def _ceilings(model: onnx.ModelProto, placement: Placement) -> dict[str, float]:
    """The largest values that quantisers behind a clip are given: runtimes drop a ReLU6 while a range is within it."""
    graph, found = Graph(model), dict[str, float]()
    for node in graph.nodes:
        limit = graph.constant(node, 2) if node.op_type == "Clip" else None
        if limit is not None and node.output[0] in placement.groups:
            group = str(placement.groups[node.output[0]])
            found[group] = min(found.get(group, math.inf), float(limit))
    return found
