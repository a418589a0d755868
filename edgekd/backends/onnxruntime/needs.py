"""What ONNX Runtime needs."""

from edgekd.needs import Component, Needs, Way

NEEDS = Needs(
    title="ONNX Runtime",
    package="onnxruntime",
    modules=("onnxruntime",),
    ways=(
        Way("{pip} install onnxruntime", bits=64),
        Way("no wheel for a 32-bit Python: take a 64-bit system, or a target with TFLite"),
    ),
    components=(Component("onnxruntime", "onnxruntime", "the reference, and its own backend"),),
)
