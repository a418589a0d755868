"""Quantisation-aware training in torch."""

from edgekd.quantization.qat.export import export_float, export_qdq
from edgekd.quantization.qat.fake_quant import enable_observers
from edgekd.quantization.qat.learned_step import learn_steps
from edgekd.quantization.qat.norms import recalibrate_batchnorm
from edgekd.quantization.qat.prepare import calibrate, prepare
from edgekd.quantization.qat.simulated import Simulated

__all__ = [
    "Simulated",
    "calibrate",
    "enable_observers",
    "export_float",
    "export_qdq",
    "learn_steps",
    "prepare",
    "recalibrate_batchnorm",
]
