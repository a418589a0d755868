# /// script
# requires-python = ">=3.11"
# dependencies = ["torchao==0.18.0", "torch==2.13.0", "onnx==1.23.2", "onnxscript==0.7.2"]
# ///
"""torchao's PT2E with the quantiser for x86, written as ONNX by torch's own exporter."""

import argparse
from pathlib import Path

import numpy as np
import torch
from torchao.quantization.pt2e import move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86


def main() -> None:
    """Write model.onnx."""
    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    samples = torch.from_numpy(np.load(arguments.given / "calibration.npy"))
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(torch.export.load(arguments.given / "model.pt2").module(), quantizer)
    with torch.no_grad():
        for batch in samples.split(1):
            prepared(batch)
    converted = move_exported_model_to_eval(convert_pt2e(prepared))
    torch.onnx.export(
        converted, (samples[:1],), arguments.out / "model.onnx", dynamo=True, external_data=False, input_names=["input"]
    )


if __name__ == "__main__":
    main()
