"""NVIDIA's parser and builder on our graphs, without a GPU; skipped where the extra `trt-check` is not installed."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from edgekd.backends.tensorrt.conformance import conformance, in_own_process
from edgekd.errors import BadInputError, DeviceError, MissingExtraError
from tests import factories

needs_tensorrt_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="needs edgekd[trt-check]")


@needs_tensorrt_rtx
@pytest.mark.parametrize("build", factories.WHOLE_NETS.values(), ids=factories.WHOLE_NETS)
def test_every_layer_of_a_symmetric_net_becomes_int8(build: Callable[..., Any]) -> None:
    model = factories.quantize(*build(0), symmetric=True)
    layers = sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node)
    result = conformance(model.SerializeToString())
    assert (result.int8_layers, result.total_layers, len(result.layers)) == (layers, layers, layers)
    assert result.label.endswith(f"not the Jetson engine; {layers} of {layers} convolutions/gemms run Int8")
    assert result.label.startswith(f"TensorRT-RTX {result.version} ahead-of-time check for SM86")


@needs_tensorrt_rtx
def test_a_float_net_has_no_int8_layer() -> None:
    result = conformance(factories.float_resnet().SerializeToString(), "SM89")
    assert (result.int8_layers, result.total_layers) == (0, 10)


@needs_tensorrt_rtx
def test_a_wrong_weight_axis_is_accepted_and_falls_back_to_float() -> None:
    """The case that only the lint can refuse: the parser takes the graph, one layer fewer is int8."""
    model = factories.qdq_resnet(symmetric=True)
    conv = [node for node in model.graph.node if node.op_type == "Conv"][1]  # 8 x 8 channels: both axes fit
    quantizer = next(node for node in model.graph.node if conv.input[1] in node.output)
    quantizer.attribute[0].i = 1
    result = conformance(model.SerializeToString())
    assert (result.int8_layers, result.total_layers) == (9, 10)


@needs_tensorrt_rtx
@pytest.mark.parametrize(
    ("model", "capability", "words"),
    [
        (factories.qdq_resnet, "SM86", "zero point"),
        (factories.float_resnet, "SM87", "does not build for SM87"),
    ],
)
def test_what_it_rejects_is_one_clear_line(model: Callable[[], Any], capability: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        conformance(model().SerializeToString(), capability)
    assert "\n" not in str(caught.value)


@needs_tensorrt_rtx
def test_bytes_that_are_no_model() -> None:
    with pytest.raises(BadInputError):
        conformance(b"not a model")


def test_a_crash_of_the_builder_is_survived() -> None:
    crash = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    with pytest.raises(DeviceError, match="exit -11"):
        in_own_process(crash, b"")


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgekd\[trt-check\]'"):
        conformance(b"")
