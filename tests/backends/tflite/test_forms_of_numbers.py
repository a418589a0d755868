"""Powers, extremes, infinities, norms and clips: which kernel each becomes, and the same numbers."""

import numpy as np
import pytest
from onnx import TensorProto

from edgekd.errors import BadInputError
from tests.backends.tflite.harness import build
from tests.backends.tflite.test_forms import MAP, becomes, conv, weights
from tests.factories import Net


@pytest.mark.parametrize(
    ("exponent", "ops"),
    [
        (2.0, "ABS SQUARE"),
        ([2.0], "ABS SQUARE"),
        (0.5, "ABS SQRT"),
        (-0.5, "ABS RSQRT"),
        (1.5, "ABS POW"),
        ([2.0, 0.5, -0.5, 3.0], "ABS POW"),
        (None, "ABS NEG POW"),  # computed
    ],
)
def test_squares_and_roots_have_kernels_of_their_own(exponent: object, ops: str) -> None:
    def net_of(net: Net) -> str:
        base = net.op("Abs", "input")
        return net.op("Pow", base, net.op("Neg", base) if exponent is None else net.constant(exponent))

    becomes((3, 4), net_of, ops)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, [1, 1, 0, 0]),
        ({"detect_negative": 1, "detect_positive": 1}, [1, 1, 0, 0]),
        ({"detect_negative": 0}, [0, 1, 0, 0]),
        ({"detect_positive": 0}, [1, 0, 0, 0]),
    ],
)
def test_infinities_are_found_by_their_sign(options: dict[str, int], found: list[int]) -> None:
    net = Net(0, (4,))
    model = net.model(net.op("Cast", net.op("IsInf", "input", **options), to=TensorProto.FLOAT))
    x = np.array([[-np.inf, np.inf, np.nan, -3e38]], np.float32)
    assert build(model, "float").run(x)["logits"].tolist() == [found]


def test_infinities_of_no_sign_are_refused() -> None:
    net = Net(0, (4,))
    mask = net.op("IsInf", "input", detect_negative=0, detect_positive=0)
    with pytest.raises(BadInputError, match="it finds nothing; leave it out"):
        build(net.model(net.op("Cast", mask, to=TensorProto.FLOAT)), "float")


@pytest.mark.parametrize(
    ("kind", "operands", "ops"),
    [
        ("Max", ["input"], "ABS"),
        ("Min", ["input", "twin"], "NEG MINIMUM ABS"),
        ("Max", ["input", "twin", "twin"], "NEG MAXIMUM MAXIMUM ABS"),
        ("Max", ["twin", "row", "twin", "input"], "NEG MAXIMUM MAXIMUM MAXIMUM ABS"),
    ],
)
def test_extremes_are_taken_two_at_a_time(kind: str, operands: list[str], ops: str) -> None:
    def net_of(net: Net) -> str:
        twin = net.op("Identity", net.op("Neg", "input")) if "twin" in operands else ""
        names = {"input": "input", "twin": twin, "row": weights(net, 4)}
        return net.op("Abs", net.op(kind, *(names[each] for each in operands)))

    becomes((3, 4), net_of, ops)


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.BOOL, TensorProto.FLOAT])
def test_a_type_is_taken_from_another_tensor(to: int) -> None:
    def net_of(net: Net) -> str:
        kinds = {TensorProto.INT32: np.int32, TensorProto.BOOL: np.bool_, TensorProto.FLOAT: np.float32}
        made = net.op("CastLike", net.op("Mul", "input", net.constant(3.0)), net.constant([0, 1], kinds[to]))
        return net.op("Cast", made, to=TensorProto.FLOAT)

    becomes((3, 4), net_of, "MUL CAST CAST")


def norm(net: Net, x: str, channels: int, **options: object) -> str:
    draws = [net.rng.normal(1, 0.3, channels), *net.rng.normal(0, 1, (2, channels)), net.rng.uniform(0.5, 2, channels)]
    return net.op("BatchNormalization", x, *map(net.constant, draws), **options)


@pytest.mark.parametrize("options", [{}, {"epsilon": 0.5}, {"training_mode": 0}])
def test_a_norm_of_rows_is_a_product_and_a_sum(options: dict[str, float]) -> None:
    becomes((5,), lambda net: net.op("Neg", norm(net, net.op("Abs", "input"), 5, **options)), "ABS MUL ADD NEG")


def test_a_norm_that_is_still_trained_is_refused() -> None:
    net = Net(0, (5,))
    made = norm(net, "input", 5, training_mode=1)
    net.nodes[-1].output.extend(["running_mean", "running_var"])
    with pytest.raises(BadInputError, match="training_mode=1: export the model in inference mode"):
        build(net.model(made), "float")


def test_a_clip_without_bounds_stands_in_no_activation_s_way() -> None:
    becomes(MAP, lambda net: net.relu(net.op("Clip", conv(net))), "CONV_2D")
