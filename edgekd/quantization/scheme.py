"""Schemes: how a target's arithmetic quantises, as data."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgekd.errors import BadInputError
from edgekd.plugins import nearest
from edgekd.target import Target


@dataclass(frozen=True)
class Scheme:
    """Per-channel symmetric weights in 8 bits, and per-tensor activations.

    Attributes:
        activation: dtype of quantised activations; `int8` with a zero point of 0 when `symmetric`.
        symmetric: activations have a zero point of 0.
        weight_max: weights lie in ±weight_max.
        bias: `int32` (dequantised with input scale × weight scale) or `float`.
        floats: what its targets compute in float although others have an integer kernel.
        integers: what its targets compute in integers although others have no kernel for it, or none that pays.
        residual: which inputs of a residual Add carry a quantiser of their own: `both`, or only the `skip`
            (the kernel fuses the other branch).
        wider: the scheme of the same targets that takes its place where it is far from float.
        float_tail: what follows the last layers stays in float; not for targets that know int8 alone.
    """

    name: str
    activation: Literal["uint8", "uint16", "int8"]
    symmetric: bool
    weight_max: int
    bias: Literal["int32", "float"]
    residual: Literal["both", "skip"]
    floats: frozenset[str] = frozenset()
    integers: frozenset[str] = frozenset()
    wider: str | None = None
    float_tail: bool = True

    @property
    def activation_range(self) -> tuple[int, int]:
        """Smallest and largest stored activation."""
        limits = np.iinfo(self.activation)
        return int(limits.min), int(limits.max)

    def stores_as(self, other: "Scheme") -> bool:
        """Whether a graph of this scheme holds numbers as one of the other does, wherever its quantisers are."""
        mine, others = ((s.activation, s.symmetric, s.weight_max, s.bias) for s in (self, other))
        return mine == others


# Qualcomm's HTP is an island of integers: whatever it computes in float16, older ones cannot compute at all.
_HTP_INTEGERS = frozenset(
    {
        *("Abs", "Add", "Clamp", "Cubic", "Div", "Elu", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log"),
        *("LayerNormalization", "LogSoftmax", "MatMul", "Max", "Min", "Mul", "Neg", "PRelu", "Reciprocal", "ReduceMax"),
        *("ReduceMean", "ReduceSum", "Softplus", "Sqrt", "Sub"),
    }
)


# Arm's Ethos-U computes nothing else, and TFLite has int8 kernels for these that the NPU takes.
_ETHOS_INTEGERS = frozenset(
    {"Add", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "MatMul", "Mul", "PRelu", "ReduceMax", "ReduceMean", "Sub"}
)


def _htp(
    name: str, activation: Literal["uint8", "uint16"], integers: frozenset[str], wider: str | None = None
) -> Scheme:
    return Scheme(
        name, activation, symmetric=False, weight_max=127, bias="int32", residual="both", integers=integers,
        wider=wider, float_tail=False,
    )  # fmt: skip


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("int8-asymmetric", "uint8", symmetric=False, weight_max=127, bias="int32", residual="both"),
        # For x86 without VNNI, whose u8 × s8 products of pairs saturate in int16.
        Scheme("int8-asymmetric-w7", "uint8", symmetric=False, weight_max=63, bias="int32", residual="both"),
        Scheme(
            "int8-symmetric",
            "int8",
            symmetric=True,
            weight_max=127,
            bias="float",
            residual="skip",
            floats=frozenset({"ConvTranspose", "Mul"}),
        ),
        Scheme(
            "ethos-w8a8",
            "uint8",
            symmetric=False,
            weight_max=127,
            bias="int32",
            residual="both",
            integers=_ETHOS_INTEGERS,
            float_tail=False,
        ),
        _htp("htp-w8a8", "uint8", _HTP_INTEGERS, wider="htp-w8a16"),
        # QAIRT 2.51 computes logarithms of 16 bits wrongly: tests/runtimes asks each operation by itself.
        _htp("htp-w8a16", "uint16", _HTP_INTEGERS - {"Log"}),
    )
}


def find_scheme(name: str) -> Scheme:
    """Look a scheme up; raise BadInputError with the nearest name."""
    if name not in SCHEMES:
        raise BadInputError(f"unknown scheme {name!r}{nearest(name, SCHEMES)}")
    return SCHEMES[name]


def schemes_of(targets: Iterable[Target]) -> list[Scheme]:
    """Return each scheme of some targets once; where one of its targets has integer outputs, without a float tail."""
    inner = {target.scheme: target.io == "float" for target in sorted(targets, key=lambda target: target.io == "int8")}
    schemes = {find_scheme(name): free for name, free in inner.items()}
    return [replace(scheme, float_tail=scheme.float_tail and free) for scheme, free in schemes.items()]
