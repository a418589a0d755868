"""ONNX Runtime, on CPUs."""
