"""ONNX Runtime with Qualcomm's execution provider, on the HTP: the neural processor of a Snapdragon."""
