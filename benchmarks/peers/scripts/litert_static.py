# /// script
# requires-python = ">=3.11"
# dependencies = ["litert-torch==0.10.0", "ai-edge-quantizer==0.10.0", "torch==2.13.0"]
# ///
"""litert-torch, channels last, and ai-edge-quantizer's static recipe: int8 weights by channel, int8 activations."""

import argparse
from pathlib import Path

import litert_torch
import numpy as np
import torch
from ai_edge_quantizer import quantizer, recipe


def main() -> None:
    """Write model.tflite."""
    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    samples = np.load(arguments.given / "calibration.npy")
    module = torch.export.load(arguments.given / "model.pt2").module()
    if samples.ndim == 4:
        module, samples = litert_torch.to_channel_last_io(module, args=[0]), samples.transpose(0, 2, 3, 1)
    plain = arguments.out / "float.tflite"
    litert_torch.convert(module, (torch.from_numpy(samples[:1].copy()),)).export(str(plain))
    worker = quantizer.Quantizer(str(plain), recipe.static_wi8_ai8())
    ranges = worker.calibrate({"serving_default": [{"args_0": sample[None]} for sample in samples]})
    worker.quantize(ranges).export_model(str(arguments.out / "model.tflite"))
    plain.unlink()


if __name__ == "__main__":
    main()
