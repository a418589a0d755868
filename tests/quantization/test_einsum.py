"""Einsum written as other operators computes what numpy's does; what has no such form stays."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekd.backends.reference import Reference
from edgekd.onnx_graph import Graph, inferred
from edgekd.quantization.clean import clean
from edgekd.quantization.einsum import write_out_einsums
from tests.properties import few
from tests.quantization.onnx_models import kinds

SIZES = {"a": 2, "b": 3, "c": 4, "d": 2, "e": 1}
Shape = tuple[int | str, ...]


def model(equation: str, *operands: Shape | np.ndarray, rank: int) -> onnx.ModelProto:
    """An Einsum of inputs x0, x1 ..., and of weights where an array stands for one."""
    names = [f"x{i}" if isinstance(operand, tuple) else f"layer{i}.weight" for i, operand in enumerate(operands)]
    pairs = list(zip(names, operands, strict=True))
    inputs = [(name, shape) for name, shape in pairs if isinstance(shape, tuple)]
    graph = helper.make_graph(
        [helper.make_node("Einsum", names, ["y"], name="joined", equation=equation)],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(value, name) for name, value in pairs if not isinstance(value, tuple)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def written_out(net: onnx.ModelProto) -> onnx.ModelProto:
    graph = Graph(inferred(net))
    write_out_einsums(graph)
    plain = graph.model()
    onnx.checker.check_model(plain, full_check=True)
    return plain


@st.composite
def equations(draw: st.DrawFn) -> tuple[list[str], str]:
    """Up to three operands without diagonals, and the letters of the result."""
    terms = [draw(st.permutations("abcde"))[: draw(st.integers(1, 4))] for _ in range(draw(st.integers(1, 3)))]
    every = sorted({letter for term in terms for letter in term})
    result = draw(st.permutations(every))[: draw(st.integers(0, len(every)))]
    return ["".join(term) for term in terms], "".join(result)


@few(40)
@given(equations(), st.integers(0, 2))
def test_any_equation_computes_what_numpy_does(equation: tuple[list[str], str], free: int) -> None:
    """The size of one letter is free, as a batch is."""
    terms, result = equation
    text = f"{','.join(terms)}->{result}"
    shapes = [tuple(SIZES[letter] for letter in term) for term in terms]
    open_shapes = [tuple("N" if letter == "abc"[free] else SIZES[letter] for letter in term) for term in terms]
    values = {f"x{i}": random(*shape, seed=i) for i, shape in enumerate(shapes)}
    plain = written_out(model(text, *open_shapes, rank=len(result)))
    assert "Einsum" not in kinds(plain)
    wanted = np.einsum(text, *values.values(), dtype=np.float64)
    # sums in another order of at most 48 products of numbers up to 4, cubed
    np.testing.assert_allclose(Reference(plain).run(values)["y"], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("equation", "shapes", "words"),
    [
        ("bhqd,bhkd->bhqk", [("N", 2, 3, 4), ("N", 2, 5, 4)], ["Transpose", "MatMul"]),
        ("bhqk,bhkd->bhqd", [("N", 2, 3, 5), ("N", 2, 5, 4)], ["MatMul"]),
        ("bqhd,bkhd->bhqk", [("N", 3, 2, 4), ("N", 5, 2, 4)], ["Transpose", "Transpose", "MatMul"]),
        ("bij,bjk->bik", [("N", 3, 4), ("N", 4, 2)], ["MatMul"]),
        ("bi,ij", [("N", 3), (3, 4)], ["MatMul"]),
        ("...ij,...jk->...ik", [("N", 2, 3, 4), ("N", 2, 4, 2)], ["MatMul"]),
        ("bi,bj->bij", [("N", 3), ("N", 4)], ["Unsqueeze", "Unsqueeze", "Mul"]),
        ("bi,bi->b", [("N", 3), ("N", 3)], ["Mul", "ReduceSum"]),
        ("bij->bi", [("N", 3, 4)], ["ReduceSum"]),
        ("bij->bji", [("N", 3, 4)], ["Transpose"]),
        ("bij->bij", [("N", 3, 4)], ["Identity"]),
        ("b...->...b", [("N", 3, 4)], ["Transpose"]),
        ("bij,bj->bi", [("N", 3, 4), ("N", 4)], ["Reshape", "MatMul", "Reshape"]),
        ("bij,bij->b", [("N", 3, 4), (1, 3, 4)], ["Squeeze", "Reshape", "Reshape", "MatMul", "Reshape"]),
    ],
)  # fmt: skip
def test_exporters_equations_become_few_operators(equation: str, shapes: list[Shape], words: list[str]) -> None:
    values = {f"x{i}": random(*(2 if size == "N" else int(size) for size in shape)) for i, shape in enumerate(shapes)}
    wanted = np.einsum(equation, *values.values())
    plain = written_out(model(equation, *shapes, rank=wanted.ndim))
    assert kinds(plain) == words
    np.testing.assert_allclose(Reference(plain).run(values)["y"], wanted, rtol=1e-5, atol=1e-5)  # another order of sums


@pytest.mark.parametrize(
    ("equation", "shape", "weight", "words"),
    [
        ("bi,oi->bo", ("N", 4), (3, 4), ["Gemm"]),
        ("oi,bi->bo", ("N", 4), (3, 4), ["Gemm"]),
        ("nctw,cd->ndtw", ("N", 3, 4, 5), (3, 2), ["Transpose", "MatMul", "Transpose"]),
        ("btd,dhk->bthk", ("N", 3, 4), (4, 2, 5), ["MatMul", "Reshape"]),
        ("bthk,hkd->btd", ("N", 3, 2, 5), (2, 5, 4), ["Reshape", "MatMul"]),
        ("bhcn,hcd->bhdn", ("N", 2, 3, 5), (2, 3, 4), ["Transpose", "MatMul", "Transpose"]),
    ],
)
def test_products_with_weights_are_layers(
    equation: str, shape: Shape, weight: tuple[int, ...], words: list[str]
) -> None:
    """They carry the name of their weight, and are quantised as any layer."""
    kernel, x = random(*weight, seed=1), random(2, *map(int, shape[1:]))
    operands = (shape, kernel) if not equation.startswith("oi") else (kernel, shape)
    wanted = np.einsum(equation, *(x if operand is shape else operand for operand in operands))
    plain = clean(model(equation, *operands, rank=wanted.ndim))
    assert kinds(plain) == words
    name = next(value.name for value in plain.graph.input)
    np.testing.assert_allclose(Reference(plain).run({name: x})["y"], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes", "rank"),
    [
        ("bii->bi", [("N", 3, 3)], 2),
        ("bii->b", [("N", 3, 3)], 1),
        ("bij,bjk->bik", [("N", "M", 4), ("N", 4, 2)], 3),
    ],
)
def test_diagonals_and_unknown_sizes_stay(equation: str, shapes: list[Shape], rank: int) -> None:
    assert kinds(written_out(model(equation, *shapes, rank=rank))) == ["Einsum"]
