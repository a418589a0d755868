# /// script
# requires-python = ">=3.11"
# dependencies = ["onnxruntime==1.32.0", "onnx==1.23.2", "sympy"]
# ///
"""ONNX Runtime's static quantisation, as its guide has it: pre-processed, QDQ, uint8 activations, int8 channels."""

import argparse
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Samples(CalibrationDataReader):
    """The calibration samples, one by one."""

    def __init__(self, path: Path) -> None:
        self.samples = iter(np.load(path))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample as a batch of one."""
        sample = next(self.samples, None)
        return None if sample is None else {"input": sample[None]}


def main() -> None:
    """Write model.onnx."""
    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    prepared = arguments.out / "prepared.onnx"
    quant_pre_process(str(arguments.given / "model.onnx"), str(prepared))
    quantize_static(
        str(prepared),
        str(arguments.out / "model.onnx"),
        Samples(arguments.given / "calibration.npy"),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()


if __name__ == "__main__":
    main()
