# /// script
# requires-python = ">=3.11"
# dependencies = ["onnxruntime==1.32.0", "onnx==1.23.2", "sympy"]
# ///
"""ONNX Runtime's static quantisation of a published file: pre-processed where that works, QDQ, int8 by channel."""

import argparse
import os
from pathlib import Path

import numpy as np
import onnxruntime
from feeding import feeds, keep
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Samples(CalibrationDataReader):
    """The calibration samples, one by one."""

    def __init__(self, samples: list[dict[str, np.ndarray]]) -> None:
        self.samples = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next sample."""
        return next(self.samples, None)


def main() -> None:
    """Write model.onnx and answers.npz."""
    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.given, arguments.out = arguments.given.resolve(), arguments.out.resolve()
    os.chdir(arguments.out)  # where its shape inference leaves what it could not infer
    model, prepared, made = (
        arguments.given / "model.onnx",
        arguments.out / "prepared.onnx",
        arguments.out / "model.onnx",
    )
    inputs = onnxruntime.InferenceSession(model).get_inputs()
    kinds = {value.name: np.dtype(np.int64 if "int64" in value.type else np.float32) for value in inputs}
    try:
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=False)
    except Exception:  # its own advice where symbolic shapes fail
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(made), Samples(feeds(arguments.given, "calibration", kinds)), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    prepared.unlink()
    session = onnxruntime.InferenceSession(made)
    names = [value.name for value in session.get_outputs()]
    tests = feeds(arguments.given, "test", kinds)
    keep(arguments.out / "answers.npz", [dict(zip(names, session.run(names, one), strict=True)) for one in tests])


if __name__ == "__main__":
    main()
