"""TensorRT, on NVIDIA's GPUs."""
