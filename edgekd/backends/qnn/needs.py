"""What Qualcomm's HTP needs: its execution provider beside ONNX Runtime, which emulates the HTP on x86-64."""

from edgekd.needs import Component, Needs, Way

NEEDS = Needs(
    title="ONNX Runtime with Qualcomm's HTP",
    package="onnxruntime-qnn",
    modules=("onnxruntime_qnn",),
    ways=(
        Way("{pip} install onnxruntime onnxruntime-qnn", bits=64, since=(3, 11)),
        Way("there are wheels for a 64-bit Python 3.11 or newer alone"),
    ),
    components=(Component("onnxruntime-qnn", "onnxruntime_qnn", "Qualcomm's HTP: bundles, emulator", "qnn"),),
    stand_in="run by Qualcomm's HTP emulator: its outputs are valid, no latency is claimed",
    silicon=("aarch64",),
    on_board="ONNX Runtime with Qualcomm's provider loads `context.onnx` on the chip, or prepares `model.onnx` there; "
    "on arm64 Linux this `run.py` verifies and measures it. `placement.json` says what the NPU computes.",
    target_keys=frozenset({"npu_share"}),
)
