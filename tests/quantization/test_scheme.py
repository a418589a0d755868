"""Schemes as the targets' arithmetic has them, and which of them some targets ask for."""

import pytest

from edgekd.errors import BadInputError
from edgekd.quantization.scheme import SCHEMES, find_scheme, schemes_of
from edgekd.target import Target, builtin_targets, load_target

ARITHMETIC = {  # stored activations, symmetric, largest weight, biases, quantisers before a sum, tail in float
    "int8-asymmetric": ((0, 255), False, 127, "int32", "both", True),
    "int8-asymmetric-w7": ((0, 255), False, 63, "int32", "both", True),
    "int8-symmetric": ((-128, 127), True, 127, "float", "skip", True),
    "ethos-w8a8": ((0, 255), False, 127, "int32", "both", False),
    "htp-w8a8": ((0, 255), False, 127, "int32", "both", False),
    "htp-w8a16": ((0, 65535), False, 127, "int32", "both", False),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_is_the_arithmetic_of_its_targets(name: str) -> None:
    one = SCHEMES[name]
    found = (one.activation_range, one.symmetric, one.weight_max, one.bias, one.residual, one.float_tail)
    assert found == ARITHMETIC[name]
    assert (one.name, one.wider) == (name, "htp-w8a16" if name == "htp-w8a8" else None)


def test_what_differs_in_stored_numbers_is_another_form() -> None:
    alike = {(one, other) for one in SCHEMES for other in SCHEMES if SCHEMES[one].stores_as(SCHEMES[other])}
    same = ("int8-asymmetric", "ethos-w8a8", "htp-w8a8")
    assert alike == {(one, other) for one in same for other in same} | {(name, name) for name in SCHEMES}


def test_integers_of_16_bits_have_no_logarithm() -> None:
    eight, sixteen = SCHEMES["htp-w8a8"].integers, SCHEMES["htp-w8a16"].integers
    assert eight - sixteen == {"Log"}
    assert sixteen < eight
    assert SCHEMES["int8-symmetric"].floats == {"ConvTranspose", "Mul"}


def test_a_scheme_that_is_misspelt_is_told_the_nearest() -> None:
    assert find_scheme("int8-symmetric") is SCHEMES["int8-symmetric"]
    with pytest.raises(BadInputError, match="unknown scheme 'int8-symetric'; did you mean 'int8-symmetric'"):
        find_scheme("int8-symetric")


def test_every_builtin_target_has_a_scheme() -> None:
    assert {load_target(name).scheme for name in builtin_targets()} <= set(SCHEMES)


@pytest.mark.parametrize(
    ("borders", "tail"), [(["float"], True), (["int8"], False), (["float", "int8"], False), (["int8", "float"], False)]
)
def test_one_target_with_integer_outputs_leaves_no_tail_in_float(borders: list[str], tail: bool) -> None:
    plain = load_target("x86-onnxruntime")
    targets = [Target.parse({**plain.model_dump(), "io": io}, "here") for io in borders]
    (scheme,) = schemes_of(targets)
    assert (scheme.name, scheme.float_tail) == (plain.scheme, tail)


def test_schemes_of_targets_are_each_there_once() -> None:
    targets = [load_target(name) for name in ("x86-onnxruntime", "ethos-u55-128", "x86-ncnn", "x86-openvino")]
    found = {scheme.name: scheme.float_tail for scheme in schemes_of(targets)}
    assert found == {"int8-asymmetric": True, "ethos-w8a8": False, "int8-symmetric": True}
