"""What TensorRT needs: one of NVIDIA's GPUs on the device, and here at most a checker of graphs."""

from edgekd.needs import Accelerator, Component, Needs, Way

NEEDS = Needs(
    title="TensorRT",
    package="TensorRT",
    modules=("tensorrt",),
    ways=(
        Way("sudo apt-get install python3-libnvinfer (of JetPack; for the Python of the system)", jetson=True),
        Way("it comes with JetPack; elsewhere {pip} install tensorrt"),
    ),
    components=(Component("tensorrt-rtx", "tensorrt_rtx", "TensorRT graph check without a GPU", "trt-check"),),
    accelerators=(Accelerator("GPU", "NVIDIA's driver: `nvidia-smi` has to list the GPU", always=True),),
    target_keys=frozenset({"batches", "floats"}),
)
