"""Float islands in float16, by ONNX Runtime's arithmetic and by NVIDIA's builder."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.backends.tensorrt.conformance import conformance
from edgekd.backends.tensorrt.half import half_islands
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.scheme import SCHEMES
from edgekd.target import Target
from tests import factories

needs_tensorrt_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="needs edgekd[trt-check]")
WHOLE_NETS = pytest.mark.parametrize("build", factories.WHOLE_NETS.values(), ids=factories.WHOLE_NETS)


def mixed() -> tuple[onnx.ModelProto, Any]:
    """A ResNet in int8 but for three layers in its middle."""
    model, inputs = factories.resnet(0)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    scheme, kept = SCHEMES["int8-symmetric"], convolutions[3:6]
    return calibrate(model, scheme, [{"input": inputs}], [f"*{name}" for name in kept]), inputs


def constants(model: onnx.ModelProto, dtype: Any) -> dict[str, Any]:
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {name: value for name, value in found.items() if value.dtype == dtype}


@WHOLE_NETS
def test_a_float_net_computes_the_same_in_half(build: Callable[..., Any]) -> None:
    model, inputs = build(0)
    half, layers = half_islands(model)
    onnx.checker.check_model(half, full_check=True)
    assert layers == sum(node.op_type in ("Conv", "Gemm", "MatMul") for node in model.graph.node)
    assert not constants(half, np.float32)
    exact, found = (Reference(each).run({"input": inputs[:16]})["logits"] for each in (model, half))
    assert found.dtype == np.float32
    # 11 bits of mantissa through ten layers: well under a hundredth of the range.
    assert np.abs(found - exact).max() < 0.01 * np.ptp(exact)


def test_only_islands_change() -> None:
    model, inputs = mixed()
    half, layers = half_islands(model)
    assert layers == 3
    assert constants(half, np.int8).keys() == constants(model, np.int8).keys()
    assert len([value for value in constants(half, np.float16).values() if value.ndim == 4]) == 3
    exact, found = (Reference(each).run({"input": inputs[:16]})["logits"] for each in (model, half))
    assert np.abs(found - exact).mean() < 0.01 * np.ptp(exact)  # a rounding may tip a quantiser by a step


def test_without_islands_nothing_changes() -> None:
    model = factories.qdq_resnet(symmetric=True)
    half, layers = half_islands(model)
    assert layers == 0
    assert not constants(half, np.float16)


def test_a_constant_that_half_cannot_hold_stays() -> None:
    net = factories.Net(0, (3, 8, 8))
    x = net.op("Mul", net.conv("input", 3, 4), net.constant(1e6))
    model = net.model(net.conv(x, 4, 4), names=("logits",))
    half, layers = half_islands(model)
    assert layers == 2
    assert [float(value) for value in constants(half, np.float32).values()] == [1e6]
    assert Reference(half).run({"input": net.inputs(2)})["logits"].dtype == np.float32


@needs_tensorrt_rtx
def test_nvidias_builder_takes_the_types_as_declared() -> None:
    model, _ = mixed()
    for graph, floats in ((model, "Float"), (half_islands(model)[0], "Half")):
        types = [layer.dtype for layer in conformance(graph.SerializeToString()).layers]
        assert (types.count("Int8"), types.count(floats)) == (7, 3), types


def test_a_target_asks_for_it(tmp_path: Any) -> None:
    model, inputs = mixed()
    target = Target(
        name="t", title="t", backend="tensorrt", scheme="int8-symmetric", floats="float16", batch=4, batches=(1, 8)
    )
    outputs = Reference(model).run({"input": inputs})
    manifest = write_bundle(
        model, target, tmp_path / "b", "int8", name="net", inputs={"input": inputs}, outputs=outputs
    )
    assert "3 layers compute in float16" in manifest.notes
    assert manifest.profile == {"min": 1, "opt": 4, "max": 8}
    assert constants(onnx.load(tmp_path / "b" / "model.onnx"), np.float16)
