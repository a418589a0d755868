"""Loops of a constant number of steps, written out."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from edgekd.onnx_import.read import read_model
from edgekd.onnx_import.unroll import STEPS, unrolled
from edgekd.quantization.reference import Reference
from tests.quantization.onnx_models import kinds, random

node = helper.make_node


def value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def looping(trips: int, ends: bool = False, held: str = "three") -> onnx.ModelProto:
    """h ← tanh(h · w + x + step), collected: what a recurrent cell in a `for` becomes."""
    body = [
        node("MatMul", ["h", "w"], ["product"]),
        node("Add", ["product", "x"], ["sum"]),
        node(
            "Cast",
            [
                "step",
            ],
            ["number"],
            to=TensorProto.FLOAT,
        ),
        node("Add", ["sum", "number"], ["moved"]),
        node("Tanh", ["moved"], ["made"]),
        node("Identity", ["made"], ["row"]),
        node("Less", ["step", held], ["cond_out"]) if ends else node("Identity", ["cond"], ["cond_out"]),
    ]
    graph = helper.make_graph(
        body, "body",
        [value("step", TensorProto.INT64), value("cond", TensorProto.BOOL), value("h", TensorProto.FLOAT, "N", 4)],
        [value("cond_out", TensorProto.BOOL), *(value(name, TensorProto.FLOAT, "N", 4) for name in ("made", "row"))],
        [numpy_helper.from_array(np.array(3), held)],
    )  # fmt: skip
    outer = [
        node("Relu", ["x"], ["begin"]),
        node("Loop", ["trips", "true", "begin"], ["last", "rows"], body=graph, name="steps"),
        node("ReduceMean", ["rows", "axes"], ["mean"], keepdims=0),
        node("Add", ["last", "mean"], ["y"]),
    ]
    constants = {"trips": np.array(trips), "true": np.array(True), "w": random(4, 4) / 2, "axes": np.array([0])}
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    inputs, outputs = [value("x", TensorProto.FLOAT, "N", 4)], [value("y", TensorProto.FLOAT, "N", 4)]
    return helper.make_model(
        helper.make_graph(outer, "g", inputs, outputs, tensors),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


@pytest.mark.parametrize("held", ["three", "0", "1", "axis", "goes_on", "0.made"])
def test_a_loop_of_constant_length_is_written_out_and_computes_the_same(tmp_path, held: str) -> None:
    net, x = looping(5, held=held), random(6, 4, seed=1)
    onnx.save(net, tmp_path / "m.onnx")
    plain = read_model(tmp_path / "m.onnx")
    assert kinds(plain).count("Tanh") == 5
    assert "Loop" not in kinds(plain)
    np.testing.assert_allclose(Reference(plain).run({"x": x})["y"], Reference(net).run({"x": x})["y"], rtol=1e-6)


@pytest.mark.parametrize("net", [looping(STEPS + 1), looping(0), looping(9, ends=True)])
def test_a_loop_that_is_too_long_or_may_end_early_is_refused(tmp_path, net: onnx.ModelProto) -> None:
    onnx.save(net, tmp_path / "m.onnx")
    assert unrolled(net) is net
    with pytest.raises(BadInputError, match="Loop 'steps': models with control flow are not supported"):
        read_model(tmp_path / "m.onnx")
