"""What TFLite-Micro needs, on the host that stands in for a microcontroller."""

from edgekd.needs import Component, Needs, Way

NEEDS = Needs(
    title="TFLite-Micro",
    package="tflite-micro",
    modules=("tflite_micro",),
    ways=(Way("{pip} install --pre tflite-micro (x86-64 Linux)"),),
    components=(Component("tflite-micro", "tflite_micro", "microcontrollers' bundles (x86-64 Linux)", "tflm"),),
    stand_in="run on the host by TFLite-Micro's reference kernels: no latency is claimed of a microcontroller",
    on_board="`MICROCONTROLLER.md` says how a firmware runs the model.",
)
