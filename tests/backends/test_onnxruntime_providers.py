"""ONNX Runtime's other providers, with the stock wheel, which has none of them: nothing falls back without a word."""

from contextlib import closing
from pathlib import Path

import pytest

from edgekd.backends.onnxruntime.runtime import OnnxRuntime
from edgekd.devices import open_device
from edgekd.errors import BadInputError, MissingRuntimeError
from edgekd.measure import Session
from edgekd.runner.errors import RunnerError
from tests.measure.bundles import MakeBundle, bundle

__all__ = ["bundle"]
TAKES_NOTHING = "AzureExecutionProvider"  # of the stock wheel: it takes nodes of its own domain alone


@pytest.fixture
def model(bundle: MakeBundle) -> Path:
    return bundle("onnxruntime") / "model.onnx"


@pytest.mark.parametrize("provider", ["xnnpack", "cuda", "tensorrt", "coreml", "openvino"])
def test_a_provider_that_is_not_here_names_what_brings_it(model: Path, provider: str) -> None:
    with pytest.raises(RunnerError, match=r"has no \w+ExecutionProvider here: (pip install|no wheel)") as caught:
        OnnxRuntime({"provider": provider}).tensors(model)
    assert caught.value.kind == "missing-runtime"


def test_a_device_says_so_in_one_line(bundle: MakeBundle) -> None:
    with closing(open_device("local:")) as host:
        with pytest.raises(MissingRuntimeError, match="here: pip install onnxruntime-gpu$"):
            Session(host, bundle("onnxruntime"), {"provider": "cuda"}).bench(0.01, 1)
        with pytest.raises(BadInputError, match="provider=tpu: expected cpu or xnnpack"):
            Session(host, bundle("onnxruntime"), {"provider": "tpu"}).bench(0.01, 1)
        with pytest.raises(BadInputError, match="device=GPU: with provider=openvino alone"):
            Session(host, bundle("onnxruntime"), {"device": "GPU"}).bench(0.01, 1)


def test_a_session_that_would_compute_on_the_cpu_alone_is_an_error(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxRuntime, "PROVIDERS", {"cuda": (TAKES_NOTHING,)})
    with pytest.raises(RunnerError, match=rf"{TAKES_NOTHING} takes none of the model's [1-9]\d* nodes"):
        OnnxRuntime({"provider": "cuda"}).tensors(model)


def test_an_onnxruntime_that_cannot_tell_where_nodes_are_is_too_old(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = OnnxRuntime({"provider": "cuda"})
    monkeypatch.setattr(OnnxRuntime, "PROVIDERS", {"cuda": (TAKES_NOTHING,)})
    told = "get_provider_graph_assignment_info"
    monkeypatch.delattr(next(kind for kind in runtime.module.InferenceSession.__mro__ if told in vars(kind)), told)
    with pytest.raises(RunnerError, match=r"does not tell where nodes are, 1\.24 does: pip install"):
        runtime.tensors(model)
