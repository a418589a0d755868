"""What OpenVINO needs: a driver where it computes on Intel's GPU or NPU."""

from edgekd.needs import Accelerator, Component, Needs, Way

NEEDS = Needs(
    title="OpenVINO",
    package="openvino",
    modules=("openvino",),
    ways=(
        Way("{pip} install openvino", bits=64),
        Way("no wheel for a 32-bit Python: take a 64-bit system, or a target with TFLite"),
    ),
    components=(Component("openvino", "openvino", "OpenVINO bundles", "openvino"),),
    accelerators=(
        Accelerator("GPU", "sudo apt-get install intel-opencl-icd", node="/dev/dri/renderD"),
        Accelerator(
            "NPU",
            "the driver of https://github.com/intel/linux-npu-driver, Linux 6.6 or newer",
            node="/dev/accel/accel",
        ),
    ),
)
