"""ONNX files from any exporter, made what edgekd works on; the caller's file is only read."""
