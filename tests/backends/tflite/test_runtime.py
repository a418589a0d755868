"""LiteRT as the runtime that leaves with bundles opens it, in this process."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgekd.backends.tflite.runtime import LiteRT, LiteRTGpu, aligned
from edgekd.backends.tflite.web import fixed_batch
from edgekd.runner.errors import RunnerError
from tests.backends.tflite.harness import Model, build
from tests.factories import Net

X = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def made() -> Model:
    """Two layers and a function that XNNPACK leaves to LiteRT."""
    net = Net(0, (3, 6, 6))
    return build(net.model(net.op("Sign", net.conv(net.relu(net.conv("input", 3, 4)), 4, 5))), "float")


def loaded(made: Model, folder: Path, **options: str) -> LiteRT:
    (folder / "model.tflite").write_bytes(made.content)
    inputs, outputs = ([spec.model_dump() for spec in specs] for specs in (made.compiled.inputs, made.compiled.outputs))
    bundle: Any = SimpleNamespace(model=folder / "model.tflite", inputs=inputs, outputs=outputs)
    runtime = LiteRT(options)
    runtime.load(bundle, len(X), 1)
    return runtime


@pytest.mark.parametrize(
    ("options", "taken"), [({}, 2), ({"delegate": "xnnpack"}, 2), ({"delegate": "none"}, 0), ({"resolver": "ref"}, 0)]
)
def test_what_a_delegate_takes_and_leaves(made: Model, options: dict[str, str], taken: int, tmp_path: Path) -> None:
    runtime = loaded(made, tmp_path, **options)
    counted = runtime.operator_coverage()
    assert (counted["delegated"], counted["fallback"]) == (taken, 3 - taken)
    assert (counted["int8"], counted["total"]) == (0, 2)
    assert counted["ops"].get("DELEGATE", 0) == int(taken > 0)
    runtime.feed([X.transpose(0, 2, 3, 1)])
    runtime.step()
    (found,) = runtime.fetch()
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), made.run(X)["logits"], rtol=0, atol=1e-5)  # another kernel


def test_layers_are_timed_under_their_names(made: Model, tmp_path: Path) -> None:
    """The profiler runs at the sizes that the file has."""
    runtime = loaded(made, tmp_path)
    kernels = runtime.profile([X[:1].transpose(0, 2, 3, 1)], 2)
    assert [kernel["kernel"].partition(" ")[0] for kernel in kernels] == ["Convolution", "Convolution"]
    assert all(kernel["layer"] for kernel in kernels)


@pytest.mark.parametrize("delegate", ["xnnpack", "none", "gpu", "nnapi", "/opt/some.so", "some.so.1"])
def test_delegates_are_known_or_libraries(delegate: str) -> None:
    assert LiteRT({"delegate": delegate}).delegate == delegate


def test_another_delegate_is_refused() -> None:
    with pytest.raises(RunnerError, match=r"delegate=hexagon: expected xnnpack, none, gpu, nnapi or a delegate's lib"):
        LiteRT({"delegate": "hexagon"})


@pytest.mark.parametrize(("options", "told"), [({}, "f32"), ({"precision": "default"}, "the GPU's")])
def test_a_gpu_is_held_to_float32_unless_told_otherwise(options: dict[str, str], told: str) -> None:
    assert LiteRTGpu({"delegate": "gpu", **options}).precision() == told


@pytest.mark.parametrize(
    ("operators", "tags", "found"),
    [
        (["CONV_2D", "RELU"], ["Convolution", "Clamp"], [0, None]),
        (["SOFTMAX", "CONV_2D"], ["Softmax", "Convolution"], [0, 1]),
        (["CONV_2D", "SOFTMAX"], ["Convolution", "Clamp", "Clamp", "Softmax"], [0, 0, 0, 1]),
        (["CONV_2D", "RESHAPE"], ["Convolution"], [0]),
        (["CONV_2D", "SOFTMAX"], ["Convolution"], [0]),
        (["SOFTMAX", "CONV_2D"], ["Convolution", "Softmax"], [1, None]),
        (["CONV_2D", "SOFTMAX"], ["Convolution", "Mean"], [0, None]),
        ([], ["Convolution"], [None]),
    ],
)
def test_what_xnnpack_fused_or_added_is_the_operator_s_own(
    operators: list[str], tags: list[str], found: list[int | None]
) -> None:
    assert aligned(operators, tags) == found


@pytest.mark.parametrize("batch", [1, 4])
def test_a_browser_s_file_has_its_batch(made: Model, batch: int) -> None:
    interpreter = Interpreter(model_content=fixed_batch(made.content, batch))
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [batch, 6, 6, 3]
