# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "nvidia-modelopt==0.47.0", "torch==2.13.0", "onnx~=1.21.0", "onnxruntime~=1.24.2", "onnx-graphsurgeon>=0.6.1",
#     "onnxconverter-common~=1.16.0", "onnxslim>=0.1.76", "polygraphy>=0.53.4", "onnxscript", "lief", "cppimport",
#     "ml_dtypes",
# ]
# ///
"""NVIDIA ModelOpt on an ONNX model, on the CPU (its own `onnx` extra wants CUDA's ONNX Runtime for the same calls)."""

import argparse
import shutil
from pathlib import Path

import numpy as np
from modelopt.onnx.quantization import quantize


def main() -> None:
    """Write model.onnx."""
    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--method", default="entropy")
    arguments = parser.parse_args()
    copy = arguments.out / "given.onnx"  # it writes beside its input, and has been seen to write over it
    shutil.copy(arguments.given / "model.onnx", copy)
    quantize(
        str(copy),
        quantize_mode="int8",
        calibration_data={"input": np.load(arguments.given / "calibration.npy")},
        calibration_method=arguments.method,
        calibration_eps=["cpu"],
        output_path=str(arguments.out / "model.onnx"),
    )
    copy.unlink()


if __name__ == "__main__":
    main()
