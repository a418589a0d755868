"""How small networks are quantised, as text; `python -m tests.quantization.placements` writes `placed/` anew."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

from edgekd.quantization.calibrate import Calibration, calibrate
from edgekd.quantization.scheme import SCHEMES, Scheme, find_scheme
from tests import factories
from tests.backends.tflite.op_cases import FLOAT, INT8
from tests.kept_text import keep, numbers

FILE = Path(__file__).with_name("placed") / "networks.txt"
PLAIN = Calibration(ranges="minmax")  # the search of another has steps, and takes the next one for a rounding
MOST = 150  # lines: what is written step by step says the same again and again


def told() -> Iterator[tuple[str, list[str]]]:
    """Of each network its name, scheme and quantised graph."""
    for op, make in sorted({**FLOAT, **INT8}.items()):
        net, output = make(0)
        yield from _named(op, net.model(output), net.inputs(64), find_scheme("int8-asymmetric"), PLAIN)
    for name, build in factories.WHOLE_NETS.items():
        model, x = build(0)
        for scheme in SCHEMES.values():
            yield from _named(name, model, x[:64], scheme, PLAIN)
        even = Calibration(ranges="minmax", equalize=True, correct_bias=False)
        yield from _named(f"{name}, even channels", model, x[:64], find_scheme("int8-symmetric"), even)


def _named(
    name: str, model: onnx.ModelProto, x: factories.Array, scheme: Scheme, how: Calibration
) -> Iterator[tuple[str, list[str]]]:
    lines = list(_lines(calibrate(model, scheme, [{"input": x}], how=how)))
    if len(lines) <= MOST:
        yield f"{name}, {scheme.name}", lines


def _lines(model: onnx.ModelProto) -> Iterator[str]:
    for node in model.graph.node:
        given = "".join(f" {entry.name}={helper.get_attribute_value(entry)}" for entry in node.attribute)
        yield f"{node.op_type}{given} {list(node.input)} -> {list(node.output)}"
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        yield f"{tensor.name}: {value.dtype} {value.shape} {numbers(value)}"


if __name__ == "__main__":
    keep(told(), FILE)
