"""Quantisation-aware training in torch."""

from edgekd.quantization.qat.export import export_float, export_qdq
from edgekd.quantization.qat.fake_quant import enable_observers
from edgekd.quantization.qat.prepare import calibrate, prepare

__all__ = ["calibrate", "enable_observers", "export_float", "export_qdq", "prepare"]
