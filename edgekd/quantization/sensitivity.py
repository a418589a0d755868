"""What rounding costs a network where it counts, at the worst part of its outputs, and which tensors pay for it.

A float model gets a quantiser for each tensor and each layer's weights, switched on by inputs. Few tensors cost nearly
all, so they are found by halves: what a set of them costs together is asked first, and only the costliest is divided.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Generic, TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgekd.onnx_graph import Array, Graph
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.fold import layer_name
from edgekd.quantization.graph_ir import WEIGHTED
from edgekd.quantization.parts import Part, judged_apart, parts_of
from edgekd.quantization.qdq import insert_activations, rounded_weight
from edgekd.quantization.reference import few, large
from edgekd.quantization.scheme import Scheme
from edgekd.quantization.staged import Staged

Arrays = dict[str, Array]
Unit = TypeVar("Unit", bound=Hashable)
SPOTLESS = 120.0  # dB: more than float32 can tell apart
RANKED_ON = 4  # samples that costs are measured on


@dataclass(frozen=True)
class Nearness:
    """How near float the worst part of the outputs is, in dB."""

    part: str
    db: float


def nearness(exact: Mapping[str, Array], rounded: Mapping[str, Array], parts: Mapping[str, Sequence[Part]]) -> Nearness:
    """Return the worst part of all real outputs; samples first."""
    found = [Nearness(part, db) for part, db in distances(exact, rounded, parts).items()]
    return min(found, key=lambda each: each.db, default=Nearness("", SPOTLESS))


def distances(
    exact: Mapping[str, Array], rounded: Mapping[str, Array], parts: Mapping[str, Sequence[Part]]
) -> dict[str, float]:
    """Return how near float each part of each output is, in dB; of integers those that are chosen count."""
    found: dict[str, float] = {}
    for name, real in exact.items():
        if real.dtype.kind == "f" or name in parts:
            apart = judged_apart(parts.get(name, ()), real) or (Part(name, (slice(None),)),)
            found |= {_label(name, part): _db(part.of(real), part.of(rounded[name])) for part in apart}
    return found


def _label(output: str, part: Part) -> str:
    return output if part.name == output else f"{output}[{part.name}]"


def _db(real: Array, ours: Array) -> float:
    if real.dtype.kind != "f":  # one index in ten that differs is 20 dB
        apart = float(np.mean(real != ours))
        return min(SPOTLESS, -20 * float(np.log10(apart))) if apart else SPOTLESS
    signal = float(np.sum(real.astype(np.float64) ** 2))
    noise = float(np.sum((real.astype(np.float64) - ours) ** 2))
    if not np.isfinite(noise):
        return -SPOTLESS
    return min(SPOTLESS, 10 * float(np.log10(signal / noise))) if noise and signal else SPOTLESS


class Ranking(Generic[Unit]):
    """What each unit costs, found as far as it is asked for; `cost` says what several switches cost together.

    A set of units, neighbours in their order, is divided as long as there is time (in seconds of this process' CPU
    time), the costliest first. The units of one that is not share its cost.
    """

    def __init__(
        self,
        units: Mapping[Unit, frozenset[str]],
        cost: Callable[[frozenset[str]], float],
        deadline: float = float("inf"),
    ) -> None:
        self._units, self._cost, self._deadline = units, cost, deadline
        self._order = {unit: place for place, unit in enumerate(units)}
        self._undivided = [self._block(tuple(units))] if units else []
        self._single: dict[Unit, float] = {}

    def divide(self, negligible: float = 0.0, known: int = 0) -> bool:
        """Divide until what is undivided costs no more than `negligible` together and so many units are known alone.

        Return whether there was time for that.
        """
        while self._undivided:
            if -sum(each[0] for each in self._undivided) <= negligible and len(self._single) >= known:
                return True
            if time.process_time() >= self._deadline:
                return False
            negative, _, members = heappop(self._undivided)
            if len(members) == 1:
                self._single[members[0]] = -negative
                continue
            for half in (members[: len(members) // 2], members[len(members) // 2 :]):
                heappush(self._undivided, self._block(half))
        return True

    @property
    def known_alone(self) -> list[Unit]:
        """Those that were divided down to, the costliest first; the costs of others are shared, and name nobody."""
        return sorted(self._single, key=lambda unit: -self._single[unit])

    @property
    def costs(self) -> dict[Unit, float]:
        """What each unit costs, the costliest first."""
        shared = {unit: -negative / len(members) for negative, _, members in self._undivided for unit in members}
        return dict(sorted((self._single | shared).items(), key=lambda item: -item[1]))

    def _block(self, members: tuple[Unit, ...]) -> tuple[float, int, tuple[Unit, ...]]:
        return -self._cost(frozenset().union(*map(self._units.__getitem__, members))), self._order[members[0]], members


class Switched:
    """A float model with a quantiser on each tensor, and if asked on each layer's weights, that can be switched on."""

    def __init__(
        self,
        calibrator: Calibrator,
        scheme: Scheme,
        samples: Arrays,
        keep_float: Sequence[str] = (),
        *,
        weights: bool = True,
    ) -> None:
        placement, affines = calibrator.placed(scheme, keep_float)
        self.tensors: dict[int, list[str]] = {}
        for edge, group in placement.groups.items():
            self.tensors.setdefault(group, []).append(edge)
        layers = placement.weights if weights else frozenset()
        self.names = [*map(tensor_switch, self.tensors), *map(weight_switch, sorted(layers))]
        graph = Graph(_with_inputs(insert_activations(calibrator.plain, affines, scheme), self.names))
        _switch_weights(graph, layers, scheme)
        model = _with_switches(graph.model(), placement.groups)
        self._parts = parts_of(calibrator.plain)
        off, batch = dict.fromkeys(self.names, np.array(False)), 1 if large(samples) else RANKED_ON
        self._staged = Staged(model, _switched(model, calibrator.plain), few(samples, RANKED_ON), off, batch)
        self._exact = self._staged.run({})

    def cost(self, on: frozenset[str]) -> float:
        """Return noise over signal at the worst part of the outputs with some switches on."""
        made = self._staged.run(dict.fromkeys(on, np.array(True)))
        return float(10 ** (-nearness(self._exact, made, self._parts).db / 10))


def tensor_switch(group: int) -> str:
    """Return the name of the switch of tensors that share a scale."""
    return f"edgekd.switch.{group}"


def weight_switch(layer: str) -> str:
    """Return the name of the switch of a layer's weights."""
    return f"edgekd.switch.weight.{layer}"


def _with_switches(model: onnx.ModelProto, group_of: Mapping[str, int]) -> onnx.ModelProto:
    """Put each quantiser behind an If: what is off costs nothing."""
    nodes, outputs = list(model.graph.node), {value.name for value in model.graph.output}
    quantizers = {node.output[0]: node for node in nodes if node.op_type == "QuantizeLinear"}
    del model.graph.node[:]
    for node in nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] in quantizers:
            quantize, result = quantizers[node.input[0]], node.output[0]
            edge = result if result in outputs else quantize.input[0]
            node = _switch(tensor_switch(group_of[edge]), quantize, node)
        if node.op_type != "QuantizeLinear":
            model.graph.node.append(node)
    return model


def _switch(switch: str, quantize: onnx.NodeProto, dequantize: onnx.NodeProto) -> onnx.NodeProto:
    source, result = quantize.input[0], dequantize.output[0]
    stored, on, off = (f"{result}.{state}" for state in ("stored", "on", "off"))
    branches = {
        "then_branch": [
            helper.make_node("QuantizeLinear", quantize.input, [stored]),
            helper.make_node("DequantizeLinear", [stored, *dequantize.input[1:]], [on]),
        ],
        "else_branch": [helper.make_node("Identity", [source], [off])],
    }
    bodies = {
        name: helper.make_graph(body, name, [], [onnx.ValueInfoProto(name=body[-1].output[0])])
        for name, body in branches.items()
    }
    return helper.make_node("If", [switch], [result], **bodies)


def _switched(model: onnx.ModelProto, plain: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """What quantisers make that can be switched on, declared as the float model declares what they take."""
    known = {value.name: value for value in (*plain.graph.input, *plain.graph.value_info)}
    found = {}
    for node in model.graph.node:
        source = node.attribute[0].g.node[0].input[0] if node.op_type == "If" else None
        if source in known:
            found[node.output[0]] = onnx.ValueInfoProto(name=node.output[0], type=known[source].type)
    return found


def _switch_weights(graph: Graph, layers: frozenset[str], scheme: Scheme) -> None:
    for node in graph.nodes:
        if node.op_type in WEIGHTED and layer_name(node) in layers:
            weight, name = graph.constants[node.input[1]], node.input[1]
            rounded = graph.add_constant(f"{name}.rounded", rounded_weight(node, weight, scheme).astype(np.float32))
            switched = graph.fresh(f"{name}.switched")
            graph.add("Where", [weight_switch(layer_name(node)), rounded, name], switched)
            graph.set_input(node, 1, switched)


def _with_inputs(model: onnx.ModelProto, switches: Sequence[str]) -> onnx.ModelProto:
    model.graph.input.extend(helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in switches)
    return model
