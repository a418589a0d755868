"""Flash saved: what TFLite-Micro never reads of a .tflite file."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.flatbuffer import pack, unpack


def trim(content: bytes) -> bytes:
    """The same model without names and signatures, with one zero point per tensor and no scales of biases.

    The interpreter repeats the only zero point of weights; a bias has the scale of its input times that of its weights.
    LiteRT wants one zero point per scale, and does not open the result.
    """
    model = unpack(content)
    model.signatureDefs = None
    for tensor in model.subgraphs[0].tensors:
        tensor.name = None
        if tensor.quantization is not None and len(tensor.quantization.scale) > 1:
            _trim_channels(tensor)
    return pack(model)


def _trim_channels(tensor: schema.TensorT) -> None:
    if tensor.type == schema.TensorType.INT32:
        tensor.quantization = None
    elif not np.any(tensor.quantization.zeroPoint):
        tensor.quantization.zeroPoint = tensor.quantization.zeroPoint[:1]
