"""Convolutions over volumes (N, C, D, H, W): CONV_3D between two transposes, in float alone."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.graph import Node
from edgekd.backends.tflite.padding import grown
from edgekd.backends.tflite.writer import Writer

CHANNELS_LAST, CHANNELS_FIRST, DHWIO = (0, 2, 3, 4, 1), (0, 4, 1, 2, 3), (2, 3, 4, 1, 0)


def conv_3d(writer: Writer, node: Node) -> None:
    """Zeros are put around it first; refuses groups and automatic padding."""
    weight = writer.graph.required(node, 1)
    if node.attributes.get("group", 1) != 1 or node.attributes.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        node.refuse("a convolution over volumes has neither groups nor automatic padding in TFLite: write its pads")
    source = writer.transposed(node.inputs[0], f"{node.output}:volume", CHANNELS_LAST)
    pads = node.attributes.get("pads") or [0] * 6
    if any(pads):
        pairs = ((0, 0), *zip(pads[:3], pads[3:], strict=True), (0, 0))
        source = grown(writer, f"{node.output}:padded", source, pairs)
    kernel = writer.constant(f"{node.output}:kernel", weight.transpose(DHWIO))
    bias = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else ""
    if not bias:
        bias = writer.constant(f"{node.output}:zeros", np.zeros(len(weight), np.float32))
    made = writer.tensor(node.output)
    shape, signature = (tuple(sizes[axis] for axis in CHANNELS_LAST) for sizes in (made.shape, made.signature))
    inner = writer.like(node.output, f"{node.output}:last", shape=shape, signature=signature)
    writer.op("CONV_3D", [source, kernel, bias], inner, _options(node))
    order = writer.constant(f"{node.output}:order", np.asarray(CHANNELS_FIRST, np.int32))
    writer.op("TRANSPOSE", [inner, order], node.output, schema.TransposeOptionsT())


def _options(node: Node) -> schema.Conv3DOptionsT:
    options = schema.Conv3DOptionsT()
    options.padding = schema.Padding.VALID
    strides, dilations = (node.attributes.get(name) or (1, 1, 1) for name in ("strides", "dilations"))
    options.strideD, options.strideH, options.strideW = strides
    options.dilationDFactor, options.dilationHFactor, options.dilationWFactor = dilations
    options.fusedActivationFunction = getattr(schema.ActivationFunctionType, node.attributes.get("activation", "NONE"))
    return options
