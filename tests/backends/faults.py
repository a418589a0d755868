"""Networks with what is said of them, and faults that a converter might make, for the tests of parity."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgekd.backends.assemble import write_bundle
from edgekd.backends.conversion import stored_inputs
from edgekd.backends.parity import Parity
from edgekd.backends.parity_outputs import prove
from edgekd.backends.reference import Reference
from edgekd.bundle import load_bundle
from edgekd.devices import open_device
from edgekd.measure.protocol import Session
from edgekd.onnx_graph import attribute
from edgekd.target import load_target
from tests import factories

Array = np.ndarray[Any, Any]
BACKENDS = ("onnxruntime", "openvino", "tflite")
DEVICE = open_device("local:")


def predict(bundle: Path, arrays: dict[str, Array], batch: int) -> dict[str, Array]:
    return Session(DEVICE, bundle, batch=batch).predict(arrays)


def parity(
    bundle: Path,
    inputs: dict[str, Array],
    reference: dict[str, Array],
    batches: tuple[int, ...] = (8,),
    unquantised: dict[str, Array] | None = None,
) -> list[Parity]:
    manifest = load_bundle(bundle)
    checked = Session(DEVICE, bundle).check(stored_inputs(manifest, inputs), batches)
    return prove(manifest, ((batch, checked.outputs(batch)) for batch in batches), reference, unquantised)


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
        write_bundle(
            deployed, target, folder / "b", "int8", name="net", inputs=self.inputs, outputs=self.reference,
            labels=[str(number) for number in range(next(iter(self.reference.values())).shape[1])],
        )  # fmt: skip
        return parity(folder / "b", self.inputs, self.reference, batches, self.unquantised)


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


MUTATIONS: dict[str, Callable[[onnx.ModelProto], None]] = {
    "weight scales of one layer off by 2 %": lambda model: scale_weights(model, "Conv", 0, 1.02),
    "a zero point dropped": drop_input_zero_point,
    "a bias dropped": lambda model: drop_bias(model, 3),
    "SAME padding for pad 1": shift_padding,
    "weights transposed": swap_weights,
}
SUBTLEST = ("weight scales of one layer off by 2 %", "a zero point dropped")
