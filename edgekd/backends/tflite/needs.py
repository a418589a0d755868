"""What LiteRT needs; older Pythons, and those of 32 bits, have tflite-runtime instead."""

from edgekd.needs import Component, Needs, Way

NEEDS = Needs(
    title="LiteRT",
    package="ai-edge-litert",
    modules=("ai_edge_litert", "tflite_runtime"),
    ways=(
        Way("{pip} install ai-edge-litert", bits=64, since=(3, 9)),
        Way("{pip} install tflite-runtime 'numpy<2'", until=(3, 11)),
        Way("no wheel for a 32-bit Python {python}: take one from 3.8 to 3.11 (?python=), or none (?runner=)"),
    ),
    components=(Component("ai-edge-litert", "ai_edge_litert", "TFLite bundles", "tflite"),),
    without_python=True,
)
