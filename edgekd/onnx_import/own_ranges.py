"""Samples for a model that is quantised already, held against the ranges that its own quantisers cover."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekd.bundle import Range
from edgekd.data.ranges import misfit, range_of
from edgekd.errors import BadInputError

EDGE = 0.01  # of a quantiser's range, for the percentiles of values that fill it evenly
MANY = 1_000_000  # samples: a range that its maker has fixed


def hold_against_own(model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]]) -> None:
    """Raise BadInputError for inputs in another number format than the quantiser that reads them was made for."""
    for name, covered in covered_inputs(model).items():
        if name in inputs and inputs[name].dtype.kind == "f":
            found = range_of(inputs[name])
            odd = misfit(found, covered)
            if odd is not None and odd.refused:
                line = f"{name} goes {found}, the model's own quantiser covers {covered}: it {odd.reason}"
                raise BadInputError(f"{line}; another number format?")


def covered_inputs(model: onnx.ModelProto) -> dict[str, Range]:
    """Inputs that a quantiser with one scale reads, and what it rounds to a step."""
    return dict(_covered(model))


def _covered(model: onnx.ModelProto) -> Iterator[tuple[str, Range]]:
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    given = {value.name for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] not in given or len(node.input) < 3:
            continue
        scale, zero = held.get(node.input[1]), held.get(node.input[2])
        if scale is None or zero is None or scale.size != 1 or zero.dtype.kind not in "iu":
            continue
        limits, offset, step = np.iinfo(zero.dtype), int(zero.reshape(())), float(scale.reshape(()))
        low, high = (step * (edge - offset) for edge in (limits.min, limits.max))
        inset = EDGE * (high - low)
        yield node.input[0], Range(low=low, p01=low + inset, p99=high - inset, high=high, samples=MANY)
