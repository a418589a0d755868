"""ONNX Runtime's sessions and its own reading of ONNX files, in this process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekd.backends.onnxruntime.runtime import OnnxRuntime, onnx_nodes, onnx_operators, onnx_weights, weights_behind
from tests import factories
from tests.factories import Net


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 16383, 16384, 70000])
def test_fields_of_any_length_are_passed_over(length: int) -> None:
    """Lengths take one to three bytes of seven bits; what lies behind such a field is found."""
    node = helper.make_node("Relu", ["x"], ["y"], name="n" * 200, doc_string="d" * length)
    after = helper.make_node("Abs", ["y"], ["z" * 300])
    model = helper.make_model(helper.make_graph([node, after], "g", [], [], doc_string="d" * length))
    content = model.SerializeToString()
    assert list(onnx_operators(content)) == ["Relu", "Abs"]
    assert list(onnx_nodes(content)) == [("n" * 200, ["x"], ["y"]), ("", ["y"], ["z" * 300])]


def test_numbers_before_the_graph_are_passed_over() -> None:
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], []))
    for version in (1, 127, 128, 2**40):
        model.model_version = version
        assert list(onnx_operators(model.SerializeToString())) == ["Relu"]


def test_of_the_constants_matrices_and_kernels_have_a_size() -> None:
    shapes = {"kernel": (300, 4, 3, 3), "matrix": (7, 5), "bias": (300,), "scale": ()}
    constants = [numpy_helper.from_array(np.zeros(shape, np.int8), name) for name, shape in shapes.items()]
    model = helper.make_model(helper.make_graph([], "g", [], [], constants))
    assert onnx_weights(model.SerializeToString()) == {"kernel": 10_800, "matrix": 35}


@pytest.mark.parametrize(
    ("kernel", "inputs", "found"),
    [
        ("conv", ["x", "scale", "w_quantized"], (None, 9)),  # as it is in the file
        ("conv", ["x", "renamed"], (None, 9)),  # found behind the quantiser of the file's own node
        ("conv", ["x", "renamed", "a.bias_quantized"], ("a", 9)),  # of the layer's own, its bias kept its name
        ("relu.out", ["x", "renamed"], (None, 9)),  # of a node that was fused into a later one
        ("matmul", ["q", "k"], (None, None)),
    ],
)
def test_weights_are_found_behind_what_was_renamed(
    kernel: str, inputs: list[str], found: tuple[str | None, int | None]
) -> None:
    makers = {
        "conv": ["x", "w", "b"], "conv.out": ["x", "w", "b"], "relu.out": ["conv.out"], "w": ["w_quantized", "scale"],
        "k": ["y"],
    }  # fmt: skip
    assert weights_behind(kernel, inputs, makers, {"w_quantized": 9, "table": 5}) == found


def loaded(model: onnx.ModelProto, folder: Path, **options: str) -> OnnxRuntime:
    onnx.save(model, str(folder / "model.onnx"))
    names = [[value.name for value in values] for values in (model.graph.input, model.graph.output)]
    bundle: Any = SimpleNamespace(model=folder / "model.onnx", inputs=names[0], outputs=names[1])
    runtime = OnnxRuntime(options)
    runtime.load(bundle, 1, 1)
    return runtime


@pytest.mark.parametrize(("optimize", "int8"), [("all", 2), ("none", 0)])
def test_layers_are_int8_where_their_quantisers_are_fused(optimize: str, int8: int, tmp_path: Path) -> None:
    """Unless it may optimise, what runs are the operators of the file."""
    net = Net(0, (3, 6, 6))
    model = factories.quantize(net.model(net.conv(net.relu(net.conv("input", 3, 4)), 4, 4)), net.inputs(16))
    runtime = loaded(model, tmp_path, optimize=optimize)
    counted = runtime.operator_coverage()
    assert (counted["int8"], counted["total"]) == (int8, 2)
    assert counted["ops"].get("Conv", 0) == 2 - int8
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
