"""A model without its weights: all that shape inference and conversion need, at a thousandth of the bytes."""

import math

import onnx
from google.protobuf.message import Message

SHAPE_LIKE = 1024  # elements; what shapes, axes, pads, sizes and repeats have


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose large initialisers have a name, a type and a shape alone: no shape needs their numbers."""
    light = onnx.ModelProto()
    _copy_fields(model, light, but="graph")
    _copy_fields(model.graph, light.graph, but="initializer")
    light.graph.initializer.extend(map(_undefined_if_large, model.graph.initializer))
    return light


def with_weights(light: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Give what was made of a model without weights, in place, the weights that the model has."""
    large = {tensor.name: tensor for tensor in model.graph.initializer if _is_large(tensor)}
    held = [large.get(tensor.name, tensor) for tensor in light.graph.initializer]
    del light.graph.initializer[:]
    light.graph.initializer.extend(held)
    return light


def _is_large(tensor: onnx.TensorProto) -> bool:
    return bool(math.prod(tensor.dims) > SHAPE_LIKE)


def _undefined_if_large(tensor: onnx.TensorProto) -> onnx.TensorProto:
    if not _is_large(tensor):
        return tensor
    return onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)


def _copy_fields(source: Message, target: Message, but: str) -> None:
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if isinstance(value, Message):
            getattr(target, field.name).CopyFrom(value)
        elif isinstance(value, str | bytes | int | float):
            setattr(target, field.name, value)
        else:
            getattr(target, field.name).extend(value)
