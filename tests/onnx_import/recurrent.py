"""Small networks as exporters of speech models write them: a state that comes and goes, a setting, half floats."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.quantization.onnx_models import random

node = helper.make_node


def recurrent(batch: int | str, layers: int = 1, kind: str = "GRU") -> onnx.ModelProto:
    """x (batch, 6) and a state (layers, batch, 4) → y (batch, 3) and the next state, one step of each layer."""
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    nodes = [
        node("Unsqueeze", ["x", "time"], ["s0"]),
        node("Split", ["h", "ones"], [f"h{i}" for i in range(layers)], axis=0),
    ]
    constants = {"time": np.array([0]), "ones": np.ones(layers, np.int64), "out": random(4, 3, seed=8)}
    for i in range(layers):
        constants[f"W{i}"] = random(1, 4 * gates, 4 if i else 6, seed=i)
        constants[f"R{i}"] = random(1, 4 * gates, 4, seed=10 + i)
        nodes += [
            node(kind, [f"s{i}", f"W{i}", f"R{i}", "", "", f"h{i}"], [f"d{i}", f"n{i}"], hidden_size=4),
            node("Squeeze", [f"d{i}", "ones_axis"], [f"s{i + 1}"]),
        ]
    constants["ones_axis"] = np.array([1])
    nodes += [
        node("Squeeze", [f"s{layers}", "time"], ["last"]),
        node("MatMul", ["last", "out"], ["y"]),
        node("Concat", [f"n{i}" for i in range(layers)], ["hn"], axis=0),
    ]
    return _model(
        nodes, {"x": [batch, 6], "h": [layers, batch, 4]}, {"y": [batch, 3], "hn": [layers, batch, 4]}, constants
    )


def steps_of_one(kind: str = "LSTM") -> onnx.ModelProto:
    """x (1, 1, 6), which is one step of one sample → y (1, 1, 3), from a state that is built in."""
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    states = ["zero"] * (2 if kind == "LSTM" else 1)
    nodes = [
        node(kind, ["x", "W", "R", "", "", *states], ["s"], hidden_size=4),
        node("Squeeze", ["s", "direction"], ["q"]),
        node("MatMul", ["q", "out"], ["y"]),
    ]
    constants = {"W": random(1, 4 * gates, 6), "R": random(1, 4 * gates, 4, seed=1), "out": random(4, 3, seed=2)}
    constants |= {"zero": np.zeros((1, 1, 4), np.float32), "direction": np.array([1])}
    return _model(nodes, {"x": [1, 1, 6]}, {"y": [1, 1, 3]}, constants)


def scaled(kind: int) -> onnx.ModelProto:
    """x (n, 6) of a float type, and `by` (n,) int64 → y = (x @ w) * by."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Cast", ["by"], ["f"], to=kind),
        node("Unsqueeze", ["f", "axis"], ["u"]),
        node("Mul", ["a", "u"], ["y"]),
    ]
    constants = {"w": random(6, 3, seed=2).astype(dtype), "axis": np.array([1])}
    model = _model(nodes, {"x": ["n", 6], "by": ["n"]}, {"y": ["n", 3]}, constants, kind)
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    return model


def _model(nodes, inputs, outputs, constants, kind=TensorProto.FLOAT) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
