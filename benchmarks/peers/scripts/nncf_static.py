# /// script
# requires-python = ">=3.11"
# dependencies = ["nncf==3.4.0", "openvino==2026.4.1"]
# ///
"""NNCF on an OpenVINO model; by default as its guide has it: samples one by one, biases corrected."""

import argparse
from pathlib import Path

import nncf
import numpy as np
import openvino

KEEP_BIASES = nncf.AdvancedQuantizationParameters(disable_bias_correction=True)


def main() -> None:
    """Write model.xml and model.bin."""
    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="performance")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--keep-biases", action="store_true")
    arguments = parser.parse_args()
    model = openvino.convert_model(arguments.given / "model.onnx")
    samples = np.load(arguments.given / "calibration.npy")
    batches = [samples[start : start + arguments.batch] for start in range(0, len(samples), arguments.batch)]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset(arguments.preset),
        subset_size=len(batches),
        **({"advanced_parameters": KEEP_BIASES} if arguments.keep_biases else {}),  # it writes them into the model
    )
    openvino.save_model(quantized, arguments.out / "model.xml")


if __name__ == "__main__":
    main()
