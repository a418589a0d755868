"""What the file says of its tensors and operators, and how a browser's copy is read: small files made by hand."""

import struct
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.flatbuffer import Op, serialise, unpack
from edgekd.backends.tflite.graph import Quantisation, Tensor, constant
from edgekd.backends.tflite.web import SHAPE, SIGNATURE, _Buffer, fixed_batch
from edgekd.errors import BadInputError

FLOAT, INT8 = np.dtype(np.float32), np.dtype(np.int8)


def tensor(name: str, kind: np.dtype[Any] = FLOAT, shape: tuple[int, ...] = (2, 3), free: bool = False) -> Tensor:
    return Tensor(name, shape, (-1, *shape[1:]) if free else shape, kind)


def written(*ops: Op, tensors: list[Tensor], inputs: str = "x", outputs: str = "y") -> bytes:
    return serialise(list(ops), {each.name: each for each in tensors}.__getitem__, inputs.split(), outputs.split())


@pytest.mark.parametrize(
    ("code", "kinds", "version"),
    [
        ("ADD", (FLOAT, FLOAT), 1), ("ADD", (INT8, INT8), 2), ("QUANTIZE", (FLOAT, INT8), 2),
        ("DEQUANTIZE", (INT8, FLOAT), 2), ("TRANSPOSE_CONV", (FLOAT, FLOAT), 4), ("TRANSPOSE_CONV", (INT8, INT8), 4),
        ("CONV_2D", (FLOAT, FLOAT), 1), ("CONV_2D", (INT8, INT8), 3), ("DEPTHWISE_CONV_2D", (INT8, INT8), 3),
        ("FULLY_CONNECTED", (INT8, INT8), 4), ("DEPTH_TO_SPACE", (INT8, INT8), 1), ("HARD_SWISH", (INT8, INT8), 1),
        ("PRELU", (INT8, INT8), 1), ("RESHAPE", (INT8, INT8), 1), ("GELU", (INT8, INT8), 2),
    ],
)  # fmt: skip
def test_an_operator_says_the_version_that_knows_its_types(code: str, kinds: tuple[Any, Any], version: int) -> None:
    """As LiteRT's own converter writes them; codes that old readers do not know are 127 to them."""
    x, y = (tensor(name, kind) for name, kind in zip("xy", kinds, strict=True))
    (entry,) = unpack(written(Op(code, ["x"], "y", None), tensors=[x, y])).operatorCodes
    builtin = getattr(schema.BuiltinOperator, code)
    assert (entry.builtinCode, entry.deprecatedBuiltinCode, entry.version) == (builtin, min(builtin, 127), version)


def test_operators_name_tensors_by_their_place_and_share_codes() -> None:
    first = Op("ADD", ["x", "w", ""], "a", schema.AddOptionsT(), ("b",))
    ops = [first, Op("ABS", ["a"], "c", None), Op("ADD", ["c", "w"], "y", schema.AddOptionsT())]
    model = unpack(written(*ops, tensors=[tensor(name) for name in "xwabcy"]))
    (graph,) = model.subgraphs
    assert [each.name.decode() for each in graph.tensors] == list("xwabcy")
    assert [list(each.inputs) for each in graph.operators] == [[0, 1, -1], [2], [4, 1]]
    assert [list(each.outputs) for each in graph.operators] == [[2, 3], [4], [5]]
    assert [each.opcodeIndex for each in graph.operators] == [0, 1, 0]
    assert [type(each.builtinOptions).__name__ for each in graph.operators] == [
        "AddOptionsT",
        "NoneType",
        "AddOptionsT",
    ]
    assert (list(graph.inputs), list(graph.outputs), model.version) == ([0], [5], 3)
    (signature,) = model.signatureDefs
    assert [(each.name, each.tensorIndex) for each in (*signature.inputs, *signature.outputs)] == [(b"x", 0), (b"y", 5)]


def test_a_tensor_says_its_rank_its_free_sizes_and_its_steps() -> None:
    steps = Quantisation(np.array([0.5, 0.25], np.float32), np.array([0, 3]), 1)
    values = np.arange(4, dtype=np.int8).reshape(2, 2)
    tensors = [tensor("x", free=True), tensor("y", shape=(4, 1)), tensor("s", shape=()),
        constant("v", values, steps), constant("w", values.copy()), constant("z", values + np.int8(1))]  # fmt: skip
    model = unpack(written(Op("ADD", ["x", "s", "v", "w", "z"], "y", None), tensors=tensors))
    found = {each.name.decode(): each for each in model.subgraphs[0].tensors}
    assert all(each.hasRank for each in found.values())
    assert (list(found["x"].shape), list(found["x"].shapeSignature)) == ([2, 3], [-1, 3])
    assert (list(found["y"].shape), found["y"].shapeSignature) == ([4, 1], None)
    assert {name: each.type for name, each in found.items()} == {
        "x": 0, "y": 0, "s": 0, "v": schema.TensorType.INT8, "w": schema.TensorType.INT8, "z": schema.TensorType.INT8
    }  # fmt: skip
    quantised = found["v"].quantization
    assert (list(quantised.scale), list(quantised.zeroPoint), quantised.quantizedDimension) == ([0.5, 0.25], [0, 3], 1)
    assert found["x"].buffer == found["y"].buffer == 0  # no data
    assert found["v"].buffer == found["w"].buffer != found["z"].buffer  # the same bytes are stored once
    assert list(model.buffers[found["z"].buffer].data) == [1, 2, 3, 4]


def test_a_type_that_tflite_lacks_is_named() -> None:
    with pytest.raises(BadInputError, match="tensor 'x' has type float64; supported: float32, float16, int8"):
        written(tensors=[tensor("x", np.dtype(np.float64))], outputs="x")


def test_the_oldest_runtime_is_told_in_16_bytes() -> None:
    model = unpack(written(Op("ABS", ["x"], "y", None), tensors=[tensor("x"), tensor("y")]))
    (entry,) = model.metadata
    assert entry.name == b"min_runtime_version"
    assert bytes(model.buffers[entry.buffer].data) == b"2.14.0".ljust(16, b"\0")


def test_a_browser_s_copy_differs_in_free_sizes_alone() -> None:
    tensors = [tensor("x", free=True), tensor("y", shape=(2, 5), free=True), constant("c", np.array([-1, 2], np.int32))]
    content = written(Op("ADD", ["x", "c"], "y", None), tensors=tensors)
    fixed = fixed_batch(content, 4)
    assert len(fixed) == len(content)
    found = unpack(fixed).subgraphs[0].tensors
    assert [list(each.shape) for each in found] == [[8, 3], [2], [8, 5]]
    assert [None if each.shapeSignature is None else list(each.shapeSignature) for each in found] == [
        [8, 3], None, [8, 5],
    ]  # fmt: skip
    buffer = _Buffer(bytearray(content))
    places = [[buffer.integers(each, field) for field in (SHAPE, SIGNATURE)] for each in buffer.tensors()]
    read = [[[buffer.number("<i", place) for place in field] for field in each] for each in places]
    assert read == [[[2, 3], [-1, 3]], [[2], []], [[2, 5], [-1, 5]]]


@pytest.mark.parametrize(
    "change", [lambda content: content[: len(content) // 2], lambda _: b"", lambda _: b"\xff" * 64]
)
def test_what_is_no_such_file_is_named(change: Any) -> None:
    content = written(Op("ABS", ["x"], "y", None), tensors=[tensor("x", free=True), tensor("y", free=True)])
    with pytest.raises(BadInputError, match=r"the model: not a \.tflite file"):
        fixed_batch(change(content), 2)


def test_an_offset_before_the_file_is_refused() -> None:
    buffer = _Buffer(bytearray(8))
    assert buffer.number("<i", 0) == 0
    with pytest.raises(ValueError, match="leads out of the file"):
        buffer.number("<i", -1)


def by_hand(count: int, held: int) -> _Buffer:
    """A table at byte 8 whose first field is a vector that says its count, with as many numbers behind it."""
    head = struct.pack("<4HiII", 6, 8, 4, 4, 8, 4, count)
    return _Buffer(bytearray(head + struct.pack(f"<{held}i", *range(held))))


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_a_vector_ends_within_the_file(count: int) -> None:
    assert by_hand(count, count).integers(8, 0) == range(20, 20 + 4 * count, 4)
    assert not by_hand(count, count).integers(8, 1)  # the table has one field
    with pytest.raises(ValueError, match="a vector leads out of the file"):
        by_hand(count + 1, count).integers(8, 0)
