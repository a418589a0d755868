"""What is known of a model before it is lowered: shapes at a batch, values, splits as slices, narrower types."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.backends.shapes import opset, require_fixed_sizes, static_shapes
from edgekd.backends.tflite.reader import read
from edgekd.backends.tflite.splits import slice_splits
from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph
from edgekd.quantization.reference import Reference
from tests.quantization.onnx_models import kinds, model, random

node = helper.make_node
X = random(2, 7, 3, seed=9)


def split(*nodes: onnx.NodeProto, **constants: object) -> onnx.ModelProto:
    values = {name: np.asarray(value) for name, value in constants.items()}
    return model(list(nodes), values, ("N", 7, 3), output_rank=3)


def sliced(net: onnx.ModelProto) -> list[str]:
    graph = Graph(net)
    slice_splits(graph, static_shapes(net, 2))
    after = graph.model()
    expected, found = (Reference(each).run({"x": X})["y"] for each in (net, after))
    np.testing.assert_array_equal(found, expected)
    return kinds(after)


def parts(edges: str, *inputs: str, **options: int) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    return node("Split", ["x", *inputs], list(edges), **options), node("Concat", list(edges), ["y"], axis=1)


@pytest.mark.parametrize(
    ("net", "count"),
    [
        (split(*parts("abc", "sizes", axis=1), sizes=[2, 4, 1]), 3),
        (split(*parts("abc", axis=1, num_outputs=3)), 3),  # 3, 3 and 1
        (split(*parts("ab", "sizes", axis=-2), sizes=[6, 1]), 2),
    ],
)
def test_parts_are_slices(net: onnx.ModelProto, count: int) -> None:
    assert sliced(net) == ["Slice"] * count + ["Concat"]


def test_samples_are_split_where_their_number_is_known() -> None:
    nodes = node("Split", ["x", "sizes"], ["a", "b"]), node("Concat", ["b", "a"], ["y"], axis=0)
    net = model(list(nodes), {"sizes": np.array([1, 1])}, (2, 7, 3), output_rank=3)
    assert sliced(net) == ["Slice", "Slice", "Concat"]
    halves = node("SplitToSequence", ["x", "size"], ["s"]), node("SequenceAt", ["s", "one"], ["y"])
    net = model(list(halves), {"size": np.array(1), "one": np.array(1)}, (2, 7, 3), output_rank=3)
    assert sliced(net) == ["Slice"]


def taken(*places: int, size: object = None, **options: int) -> list[onnx.NodeProto]:
    names = [f"p{index}" for index in range(len(places))]
    takers = [node("SequenceAt", ["s", f"i{place}"], [name]) for place, name in zip(places, names, strict=True)]
    operands = ["x"] if size is None else ["x", "size"]
    return [node("SplitToSequence", operands, ["s"], axis=1, **options), *takers, node("Concat", names, ["y"], axis=1)]


@pytest.mark.parametrize(
    ("places", "size", "count"),
    [((0, 1, 2), 3, 3), ((2, 0), 3, 2), ((-1,), 3, 1), ((1, 0), [5, 2], 2), ((6, -7, 3), None, 3)],
)
def test_pieces_of_sequences_are_slices(places: tuple[int, ...], size: object, count: int) -> None:
    constants = {f"i{place}": place for place in places} | ({} if size is None else {"size": size})
    assert sliced(split(*taken(*places, size=size), **constants)) == ["Slice"] * count + ["Concat"]


def test_sequences_that_are_joined_or_cut_by_computed_sizes_stay() -> None:
    whole = node("ConcatFromSequence", ["s"], ["y"], axis=1)
    joined = split(node("SplitToSequence", ["x", "size"], ["s"], axis=1), whole, size=3)
    assert sliced(joined) == ["SplitToSequence", "ConcatFromSequence"]
    both = split(*taken(0, size=3)[:-1], node("ConcatFromSequence", ["s"], ["w"], axis=1),
        node("Concat", ["p0", "w"], ["y"], axis=1), size=3, i0=0)  # fmt: skip
    assert sliced(both)[0] == "SplitToSequence"
    computed = split(
        node("IsNaN", ["x"], ["odd"]), node("Cast", ["odd"], ["none"], to=TensorProto.INT64),
        node("ReduceSum", ["none"], ["zero"], keepdims=0), node("Add", ["zero", "given"], ["sizes"]),
        *parts("ab", "sizes", axis=1), given=[2, 5],
    )  # fmt: skip
    assert "Split" in sliced(computed)


def test_sizes_that_follow_from_sizes_are_known() -> None:
    computed = split(
        node("Shape", ["x"], ["n"], start=1, end=2), node("Sub", ["n", "five"], ["two"]),
        node("Concat", ["two", "five"], ["sizes"], axis=0), *parts("ab", "sizes", axis=1), five=[5],
    )  # fmt: skip
    assert "Split" not in sliced(computed)


def test_what_follows_from_shapes_is_evaluated_at_a_batch() -> None:
    nodes = [
        node("Shape", ["x"], ["s"]), node("Shape", ["x"], ["tail"], start=1), node("Shape", ["x"], ["head"], end=-1),
        node("Gather", ["s", "zero"], ["n"]), node("Mul", ["n", "two"], ["m"]), node("CastLike", ["two", "x"], ["t"]),
        node("Mul", ["x", "t"], ["y"]),
    ]  # fmt: skip
    found = static_shapes(split(*nodes, zero=0, two=2), 5)
    assert found.values["s"].tolist() == [5, 7, 3]
    assert (found.values["tail"].tolist(), found.values["head"].tolist()) == ([7, 3], [5, 7])
    assert (int(found.values["n"]), int(found.values["m"]), float(found.values["t"])) == (5, 10, 2.0)
    assert found.values["t"].dtype == np.float32
    assert found.shapes["y"] == ((5, 7, 3), np.dtype(np.float32))
    assert found.shapes["s"] == ((3,), np.dtype(np.int64))
    assert "y" not in found.values


def test_large_constants_are_declared_and_small_ones_looked_into() -> None:
    table = np.arange(2000, dtype=np.float32).reshape(1, 2000, 1)
    nodes = [node("Concat", ["x", "t"], ["c"], axis=1), node("Reshape", ["c", "target"], ["y"])]
    large = np.concatenate([table] * 2, axis=2)[:, :, :1].repeat(3, 2)
    net = model(nodes, {"t": large.repeat(2, 0), "target": np.array([2, 3, -1])}, (2, 7, 3), output_rank=3)
    found = static_shapes(net, 2)
    assert found.shapes["c"] == ((2, 2007, 3), np.dtype(np.float32))
    assert found.shapes["y"] == ((2, 3, 2007), np.dtype(np.float32))
    assert found.values["t"].shape == (2, 2000, 3)


def test_quantisers_and_other_domains_are_not_evaluated() -> None:
    numbers = {"one": np.float32(1), "s": np.float32(0.5), "z": np.uint8(0)}
    nodes = [node("QuantizeLinear", ["one", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"])]
    nodes += [node("Neg", ["one"], ["minus"]), node("Add", ["x", "d"], ["a"]), node("Add", ["a", "minus"], ["y"])]
    found = static_shapes(split(*nodes, **numbers), 2)
    assert {"q", "d"}.isdisjoint(found.values)
    assert float(found.values["minus"]) == -1


def test_an_opset_is_read_and_only_the_batch_is_free() -> None:
    net = split(node("Relu", ["x"], ["y"]))
    assert opset(net) == 18
    require_fixed_sizes(net)
    net.opset_import[0].domain = "ai.onnx"
    assert opset(net) == 18
    net.opset_import[0].domain = "own"
    assert opset(net) == 0
    net.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "L"
    with pytest.raises(BadInputError, match=r"input 'x': dimension 2 \(L\) is free"):
        require_fixed_sizes(net)
    net.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_param")
    with pytest.raises(BadInputError, match="input 'x': dimension 2 is free"):
        require_fixed_sizes(net)
    net.graph.initializer.append(numpy_helper.from_array(random(1, 7, 3), "x"))
    require_fixed_sizes(net)  # a constant may be declared as it likes


def test_dimensions_that_follow_the_batch_are_open_and_types_narrowed() -> None:
    nodes = [
        node("Shape", ["x"], ["s"], end=1), node("Concat", ["s", "rest"], ["t"], axis=0),
        node("Reshape", ["x", "t"], ["r"]),
        node("Cast", ["r"], ["i"], to=TensorProto.INT64), node("Add", ["i", "far"], ["j"]),
        node("Cast", ["j"], ["y"], to=TensorProto.FLOAT),
    ]  # fmt: skip
    graph = read(split(*nodes, rest=[3, 7], far=np.int64(2**40)), 4)
    assert (graph.tensors["r"].shape, graph.tensors["r"].signature) == ((4, 3, 7), (-1, 3, 7))
    assert graph.tensors["i"].dtype == np.int32
    assert graph.tensors["far"].data == np.int32(2**31 - 1)
    assert [each.op for each in graph.nodes] == ["Shape", "Concat", "Reshape", "Cast", "Add", "Cast"]
    fixed = split(node("Relu", ["x"], ["y"]))
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    assert read(fixed, 1).tensors["y"].signature == (4, 7, 3)
    head = split(node("Shape", ["x"], ["s"], start=1), node("Reshape", ["x", "t"], ["y"]), t=[-1, 3, 7])
    assert [each.op for each in read(head, 1).nodes] == ["Reshape"]  # what is the same at any batch is a constant


@pytest.mark.parametrize(("version", "old"), [(12, True), (13, False)])
def test_opset_13_is_the_oldest(version: int, old: bool) -> None:
    net = model([node("Relu", ["x"], ["y"])], {}, ("N", 7, 3), opset=version, output_rank=3)
    if old:
        with pytest.raises(BadInputError, match="opset 12 is too old: export with opset 13 or later"):
            read(net, 1)
    else:
        assert read(net, 1).nodes[0].op == "Relu"


def test_a_second_result_that_nothing_reads_is_no_hindrance() -> None:
    dropout = node("Dropout", ["x"], ["y", "mask"], name="drop")
    assert read(split(dropout), 1).nodes[0].name == "drop"
    used = split(node("Dropout", ["x"], ["d", "mask"], name="drop"), node("Where", ["mask", "d", "x"], ["y"]))
    with pytest.raises(BadInputError, match="only its first output has a TFLite form"):
        read(used, 1)


@pytest.mark.parametrize(
    ("alone", "operands", "ops"),
    [
        (node("Trilu", ["x"], ["y"]), {}, "Where"),
        (node("Split", ["x"], ["y"], axis=1, num_outputs=1), {}, "Slice"),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2, 2]), {}, "Reshape MaxPool Reshape MaxPool Reshape"),
        (node("RNN", ["x", "w", "r"], ["y"], hidden_size=2), {"w": random(1, 2, 3), "r": random(1, 2, 2)},
            "MatMul Add Slice Squeeze Tanh"),
        (node("Einsum", ["x"], ["y"], equation="abc->acb"), {}, "Transpose"),
        (node("BatchNormalization", ["x", *"gbmv"], ["y"]), dict.fromkeys("gbmv", np.ones(7, np.float32)), "Conv"),
    ],
)  # fmt: skip
def test_a_net_of_one_node_is_written_out_too(alone: onnx.NodeProto, operands: dict[str, np.ndarray], ops: str) -> None:
    shape = (2, 7, 3, 3, 3) if alone.op_type == "MaxPool" else (2, 7, 3)
    rank = {"MaxPool": 5, "RNN": 4}.get(alone.op_type, 3)
    made = " ".join(each.op for each in read(model([alone], operands, shape, output_rank=rank), 1).nodes)
    assert made.startswith(ops)


@pytest.mark.parametrize(("count", "known"), [(1024, True), (1025, False)])
def test_constants_of_1024_numbers_are_the_largest_that_shapes_are_read_from(count: int, known: bool) -> None:
    names = [f"p{index}" for index in range(count)]
    cut = node("Split", ["x", "sizes"], names, axis=1)
    found = static_shapes(model([cut], {"sizes": np.ones(count, np.int64)}, (2, count, 3), "p0", output_rank=3), 2)
    assert found.shapes.get("p7") == (((2, 1, 3), np.dtype(np.float32)) if known else None)
    assert found.shapes["sizes"] == ((count,), np.dtype(np.int64))


def test_shapes_behind_a_quantiser_are_known_however_often_values_are_found() -> None:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("Shape", ["d"], ["n"]), node("Neg", ["n"], ["m"]), node("Neg", ["m"], ["target"]),
        node("Reshape", ["d", "target"], ["r"]), node("Shape", ["r"], ["again"]),
        node("Reshape", ["r", "again"], ["y"]),
    ]  # fmt: skip
    found = static_shapes(split(*nodes, s=np.float32(0.5), z=np.uint8(3)), 2)
    assert {name: found.shapes[name][0] for name in "qdry"} == dict.fromkeys("qdry", (2, 7, 3))
    assert found.shapes["q"][1] == np.uint8
    assert found.values["again"].tolist() == [2, 7, 3]
