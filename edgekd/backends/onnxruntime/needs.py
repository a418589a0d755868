"""What ONNX Runtime needs."""

from edgekd.needs import AppSetting, Component, Needs, Way

NEEDS = Needs(
    title="ONNX Runtime",
    package="onnxruntime",
    modules=("onnxruntime",),
    ways=(
        Way("{pip} install onnxruntime", bits=64),
        Way("no wheel for a 32-bit Python: take a 64-bit system, or a target with TFLite"),
    ),
    components=(Component("onnxruntime", "onnxruntime", "the reference, and its own backend"),),
    in_app=AppSetting(
        "On an x86 CPU without VNNI, an app that opens `model.onnx` itself has to set the session option "
        "`session.x64quantprecision` to `1`: sums of int8 products saturate without it.",
        without=frozenset({"float", "float16", "int8-asymmetric-w7"}),
    ),
)
