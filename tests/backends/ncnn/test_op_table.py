"""Every operation of TFLite's table over random shapes: right in float and in int8, or refused by one line.

Tolerances: those of float32 are told beside the cases, of the range; one step in int8, of inputs that reach no -128,
which ncnn does not have: a function that is steeper than its grid makes many steps of that one.
"""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.backends.reference import output_steps
from edgekd.errors import BadInputError
from tests import factories
from tests.backends.ncnn.harness import Built, build
from tests.backends.tflite.op_cases import FLOAT, FLOAT_TOLERANCE, INT8
from tests.properties import few

TAKEN = {
    *("Abs", "AveragePool of what lies inside", "AveragePool, 1-D", "Ceil", "Conv, 1-D", "ConvTranspose"),
    *("ConvTranspose in groups", "ConvTranspose, 1-D", "Cos", "DepthToSpace", "Elu", "Elu, low", "Erf", "Erf as Gelu"),
    *("Exp", "Floor", "Gelu", "Gelu by tanh", "HardSwish", "LayerNormalization", "LeakyRelu", "Log", "MatMul and Add"),
    *("MaxPool, 1-D", "Mish", "Neg", "PRelu", "Pad by reflection", "Pow", "Reciprocal", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceSum", "Resize by nearest", "Resize by nearest, centred", "Resize linearly"),
    *("Resize linearly, corners aligned", "Sin", "Softmax", "Softplus", "Split", "Sqrt"),
}
CASES = {**FLOAT, **INT8}


def taken(op: str, model: onnx.ModelProto, precision: str) -> Built | None:
    """What is written of a model; None where it is refused by one line that names the node."""
    try:
        return build(model, precision)  # type: ignore[arg-type]
    except BadInputError as error:
        assert op not in TAKEN, error
        assert "\n" not in str(error)
        assert str(error).startswith(("node '", "input", "logits: only the batch"))
        return None


@pytest.mark.parametrize("op", sorted(CASES))
@few(1)
@given(st.integers(0, 1000))
def test_float(op: str, seed: int) -> None:
    net, output = CASES[op](seed)
    model, x = net.model(output), net.inputs(5, seed=1)
    built = taken(op, model, "float")
    if built is not None:
        truth = factories.reference(model, x)["logits"]
        found = built.run(x)["logits"]
        assert found.shape == truth.shape
        assert np.abs(found - truth).max() <= FLOAT_TOLERANCE[op] * max(np.abs(truth).max(), 1.0)


@pytest.mark.parametrize("op", sorted({*INT8, "LayerNormalization"} - {"Softmax"}))
@few(1)
@given(st.integers(0, 1000))
def test_int8(op: str, seed: int) -> None:
    net, output = CASES[op](seed)
    model = factories.quantize(net.model(output), net.inputs(64), symmetric=True)
    x = factories.on_grid(model, net.inputs(5, seed=1), lowest=-127)
    built = taken(op, model, "int8")
    if built is not None:
        truth, (step,) = factories.reference(model, x)["logits"], output_steps(model).values()
        assert step is not None
        assert np.abs(built.run(x)["logits"] - truth).max() / step <= 1.01
