# /// script
# requires-python = ">=3.11"
# dependencies = ["nncf==3.4.0", "openvino==2026.4.1"]
# ///
"""NNCF on a published file as OpenVINO reads it, by default: samples one by one, biases corrected."""

import argparse
from pathlib import Path

import nncf
import numpy as np
import openvino
from feeding import feeds, keep


def main() -> None:
    """Write model.xml, model.bin and answers.npz."""
    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    model = openvino.convert_model(arguments.given / "model.onnx")
    kinds = {value.any_name: np.dtype(value.element_type.to_dtype()) for value in model.inputs}
    samples = feeds(arguments.given, "calibration", kinds)
    quantized = nncf.quantize(model, nncf.Dataset(samples), subset_size=len(samples))
    openvino.save_model(quantized, arguments.out / "model.xml")
    compiled = openvino.compile_model(quantized, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [value.any_name for value in compiled.outputs]
    answers = [compiled(one) for one in feeds(arguments.given, "test", kinds)]
    keep(arguments.out / "answers.npz", [{name: answer[name] for name in names} for answer in answers])


if __name__ == "__main__":
    main()
