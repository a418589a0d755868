"""Parity for real, through the runner: what every backend reaches, and that faults in a graph do not get through."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd.backends.assemble import write_bundle
from edgekd.backends.parity import Parity
from edgekd.backends.proof import first_divergence, prove, watch
from edgekd.backends.reference import Reference
from edgekd.devices import open_device
from edgekd.measure.protocol import Session
from edgekd.onnx_graph import attribute
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import find_scheme
from edgekd.target import load_target
from tests import factories

Array = np.ndarray[Any, Any]
BACKENDS = ("onnxruntime", "openvino", "tflite")
DEVICE = open_device("local:")


def predict(bundle: Path, arrays: dict[str, Array], batch: int) -> dict[str, Array]:
    return Session(DEVICE, bundle, batch=batch).predict(arrays)


class Case:
    """A net, 500 inputs, and what the int8 and the float model say to them."""

    def __init__(self, build: Callable[..., tuple[onnx.ModelProto, Array]]) -> None:
        self.float, calibration = build(0)
        self.int8 = factories.quantize(self.float, calibration)
        self.inputs = {"input": factories.inputs_for(self.float, 500)}
        self.reference = Reference(self.int8).run(self.inputs)
        self.unquantised = Reference(self.float).run(self.inputs)

    def mutated(self, mutate: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(self.int8)
        mutate(copy)
        return copy

    def rows(
        self, backend: str, folder: Path, model: onnx.ModelProto | None = None, batches: tuple[int, ...] = (8,)
    ) -> list[Parity]:
        target = load_target(f"x86-{backend}")
        deployed = model or self.int8
        write_bundle(deployed, target, folder / "b", "int8", name="net", inputs=self.inputs, outputs=self.reference)
        return prove(folder / "b", self.inputs, self.reference, batches, predict, self.unquantised)


@pytest.fixture(scope="module")
def resnet() -> Case:
    return Case(factories.resnet)


@pytest.fixture(scope="module")
def cases(resnet: Case) -> dict[str, Case]:
    others = {"mobilenet": factories.mobilenet, "dscnn": factories.dscnn}
    return {"resnet": resnet} | {name: Case(build) for name, build in others.items()}


def scale_weights(model: onnx.ModelProto, kind: str, index: int, factor: float) -> None:
    quantizer = maker(model, layers(model, kind)[index].input[1])
    change(model, quantizer.input[1], lambda scale: scale * np.float32(factor))


def drop_input_zero_point(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == "input":
            for pair in (node, *(reader for reader in model.graph.node if node.output[0] in reader.input)):
                change(model, pair.input[2], np.zeros_like)


def drop_bias(model: onnx.ModelProto, index: int) -> None:
    change(model, maker(model, layers(model, "Conv")[index].input[2]).input[0], np.zeros_like)


def shift_padding(model: onnx.ModelProto) -> None:
    conv = layers(model, "Conv")[3]
    assert attribute(conv, "strides", None) == [2, 2]
    next(entry for entry in conv.attribute if entry.name == "pads").ints[:] = [0, 0, 2, 2]


def swap_weights(model: onnx.ModelProto) -> None:
    change(model, maker(model, layers(model, "Conv")[3].input[1]).input[0], lambda weight: weight.transpose(0, 1, 3, 2))


def layers(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


def maker(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if tensor in node.output)


def change(model: onnx.ModelProto, name: str, function: Callable[[Array], Array]) -> None:
    tensor = next(entry for entry in model.graph.initializer if entry.name == name)
    new = np.ascontiguousarray(function(numpy_helper.to_array(tensor)))
    tensor.CopyFrom(numpy_helper.from_array(new, name))


@pytest.mark.parametrize("net", ["resnet", "mobilenet", "dscnn"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_parity_holds_at_batch_1_and_8(backend: str, net: str, cases: dict[str, Case], tmp_path: Path) -> None:
    """The tolerances are the backends' own: 2 steps at most for TFLite and ONNX Runtime, 4 at p99.9 for OpenVINO."""
    one, eight = cases[net].rows(backend, tmp_path, batches=(1, 8))
    assert (one.ok, one.reason) == (eight.ok, eight.reason) == (True, None)
    assert (one.batch, eight.batch, one.n) == (1, 8, 500)
    assert one.agreement == eight.agreement == 1
    assert one.max == eight.max, "the batch changes nothing"


def test_parity_holds_with_integer_borders(resnet: Case, tmp_path: Path) -> None:
    target = load_target("x86-tflite").model_copy(update={"io": "int8"})
    write_bundle(
        resnet.int8, target, tmp_path / "b", "int8", name="net", inputs=resnet.inputs, outputs=resnet.reference
    )
    (row,) = prove(tmp_path / "b", resnet.inputs, resnet.reference, (8,), predict)
    assert (row.ok, row.reason) == (True, None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_parity_of_the_float_variant(backend: str, resnet: Case, tmp_path: Path) -> None:
    """Float32 kernels differ in the order of their sums: 1e-2 of a step is 1e-4 of the range at most."""
    target = load_target(f"x86-{backend}")
    arguments = {"name": "net", "inputs": resnet.inputs, "outputs": resnet.unquantised}
    write_bundle(resnet.float, target, tmp_path / "b", "float", **arguments)  # type: ignore[arg-type]
    (row,) = prove(tmp_path / "b", resnet.inputs, resnet.unquantised, (8,), predict)
    assert row.ok
    assert row.max is not None
    assert row.max < 1e-2


MUTATIONS: dict[str, Callable[[onnx.ModelProto], None]] = {
    "weight scales of one layer off by 2 %": lambda model: scale_weights(model, "Conv", 0, 1.02),
    "a zero point dropped": drop_input_zero_point,
    "a bias dropped": lambda model: drop_bias(model, 3),
    "SAME padding for pad 1": shift_padding,
    "weights transposed": swap_weights,
}
SUBTLEST = ("weight scales of one layer off by 2 %", "a zero point dropped")


@pytest.mark.parametrize(
    ("backend", "fault"),
    [(backend, fault) for backend in BACKENDS for fault in (MUTATIONS if backend == "onnxruntime" else SUBTLEST)],
)
def test_a_mutated_graph_fails_the_gate(backend: str, fault: str, resnet: Case, tmp_path: Path) -> None:
    (row,) = resnet.rows(backend, tmp_path, resnet.mutated(MUTATIONS[fault]))
    assert not row.ok
    assert row.counts


def test_a_head_that_hardly_moves_does_not_count(resnet: Case, tmp_path: Path) -> None:
    """The same fault would pass: outputs that are all alike agree with anything."""
    dull = resnet.inputs["input"][:1].repeat(50, axis=0)
    reference = Reference(resnet.int8).run({"input": dull})
    target = load_target("x86-onnxruntime")
    write_bundle(resnet.int8, target, tmp_path / "b", "int8", name="net", inputs={"input": dull}, outputs=reference)
    (row,) = prove(tmp_path / "b", {"input": dull}, reference, (8,), predict)
    assert not row.ok
    assert not row.counts


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_diverging_tensor_is_named(backend: str, resnet: Case) -> None:
    broken = resnet.mutated(lambda model: drop_bias(model, 3))
    conv = layers(broken, "Conv")[3]
    (relu,) = (node for node in broken.graph.node if conv.output[0] in node.input)
    inputs = {"input": resnet.inputs["input"][:64]}
    found = first_divergence(resnet.int8, load_target(f"x86-{backend}"), inputs, predict, broken)
    assert found is not None
    assert (found.tensor, found.node) == (relu.output[0], f"Relu {relu.name}")
    assert str(found).startswith(f"first diverging tensor: {relu.output[0]}, made by Relu {relu.name}, off by ")


@pytest.mark.parametrize("backend", ["onnxruntime", "tflite"])
def test_nothing_diverges_in_a_faithful_bundle(backend: str, resnet: Case) -> None:
    inputs = {"input": resnet.inputs["input"][:64]}
    assert first_divergence(resnet.int8, load_target(f"x86-{backend}"), inputs, predict) is None


def test_tensors_whose_batch_is_not_first_are_not_watched() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        onnx.helper.make_node("MatMul", ["input", "w"], ["kept"]),
        onnx.helper.make_node("Transpose", ["kept"], ["turned"], perm=[1, 0, 2]),
        onnx.helper.make_node("MatMul", ["turned", "v"], ["logits"]),
    ]
    weights = {name: rng.normal(size=(6, 6)).astype(np.float32) for name in "wv"}
    net = factories.build_model(nodes, weights, (4, 6), ("logits",), {})
    x = rng.normal(size=(8, 4, 6)).astype(np.float32)
    assert list(watch(calibrate(net, find_scheme("int8-asymmetric"), [{"input": x}]))[1]) == ["kept"]
