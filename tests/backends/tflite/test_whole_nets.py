"""Whole random nets through LiteRT against ONNX Runtime without graph optimisations."""

import pytest

from tests import factories
from tests.backends.tflite.harness import build, float_distance, steps_apart

NETS = sorted(factories.WHOLE_NETS)


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", [0, 1])
def test_int8_net_is_within_the_parity_gate_with_xnnpack(name: str, seed: int, batch: int) -> None:
    """Two steps: the gate; XNNPACK and ORT round the same products at different places."""
    model = factories.quantize(*factories.WHOLE_NETS[name](seed))
    assert steps_apart(model, factories.inputs_for(model, 16), batch=batch) <= 2.01


@pytest.mark.parametrize("name", NETS)
def test_int8_net_stays_close_with_reference_kernels(name: str) -> None:
    """Four steps: their fixed-point Add and Mean are each within one step, and a net has several in a row."""
    model = factories.quantize(*factories.WHOLE_NETS[name](3))
    assert steps_apart(model, factories.inputs_for(model, 16), "reference") <= 4.01


@pytest.mark.parametrize("name", NETS)
def test_float_net_agrees_to_float_rounding(name: str) -> None:
    """1e-5: sums of some hundred float32 products in another order."""
    model = factories.WHOLE_NETS[name](0)[0]
    assert float_distance(model, factories.inputs_for(model, 8)) <= 1e-5


@pytest.mark.parametrize("name", NETS)
def test_net_is_int8_throughout_and_taken_by_xnnpack_as_one(name: str) -> None:
    built = build(factories.quantize(*factories.WHOLE_NETS[name](0)))
    assert built.compiled.notes == ()
    assert [built.ops.count(op) for op in ("QUANTIZE", "DEQUANTIZE")] == [1, 1]
    interpreter = built.interpreter()
    interpreter.allocate_tensors()
    kinds = [op["op_name"] for op in interpreter._get_ops_details()]
    assert kinds.count("DELEGATE") == 1


def test_equal_weights_are_stored_once() -> None:
    """As the steps of an unrolled recurrent layer have them."""
    net = factories.Net(0, (64,))
    weight, x = net.rng.normal(0, 0.1, (64, 64)), "input"
    for _ in range(20):
        x = net.op("Tanh", net.op("MatMul", x, net.constant(weight)))
    size = len(build(net.model(x), "float").content)
    assert weight.size * 4 < size < 2 * weight.size * 4 + 20 * 1000  # names, shapes and ops of twenty layers
