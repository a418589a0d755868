"""What ONNX Runtime needs."""

from edgekd.backends.onnxruntime.runtime import OnnxRuntime
from edgekd.needs import AppSetting, Build, Component, Needs, Way


def _build(provider: str, get: str) -> Build:
    """The wheel that has an execution provider, if one does."""
    offers, words = OnnxRuntime.PROVIDERS[provider][0], get.split()
    package = words[2] if words[:2] == ["pip", "install"] else f"onnxruntime with {offers}"
    get = get.replace("pip install", "{pip} install", 1)
    return Build("provider", provider, "get_available_providers", offers, package, get)


NEEDS = Needs(
    title="ONNX Runtime",
    package="onnxruntime",
    modules=("onnxruntime",),
    ways=(
        Way("{pip} install onnxruntime", bits=64),
        Way("no wheel for a 32-bit Python: take a 64-bit system, or a target with TFLite"),
    ),
    components=(Component("onnxruntime", "onnxruntime", "the reference, and its own backend"),),
    builds=tuple(_build(*pair) for pair in OnnxRuntime.GET.items()),
    in_app=AppSetting(
        "On an x86 CPU without VNNI, an app that opens `model.onnx` itself has to set the session option "
        "`session.x64quantprecision` to `1`: sums of int8 products saturate without it.",
        without=frozenset({"float", "float16", "int8-asymmetric-w7"}),
    ),
)
