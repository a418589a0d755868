import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgekd.backends.reference import Reference
from edgekd.errors import BadInputError
from edgekd.quantization.clean import clean
from tests.properties import few
from tests.quantization.onnx_models import constants, kinds, model, random

node = helper.make_node
X = random(5, 3, 6, 6, seed=9)


def outputs_agree(before: onnx.ModelProto, after: onnx.ModelProto, x: np.ndarray = X) -> None:
    expected, found = Reference(before).run({"x": x}), Reference(after).run({"x": x})
    for name, value in expected.items():
        # Folding in float64 and rounding once to float32 moves values by a few units in the last place.
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(value).max())))


def conv_norm(gamma: np.ndarray, beta: np.ndarray, bias: bool) -> onnx.ModelProto:
    operands = ["x", "c.weight"] + (["c.bias"] if bias else [])
    return model(
        [
            node("Conv", operands, ["a"], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["a", "gamma", "beta", "mean", "variance"], ["b"], epsilon=1e-3),
            node("Relu", ["b"], ["y"]),
        ],
        {
            "c.weight": random(4, 3, 3, 3),
            **({"c.bias": random(4, seed=1)} if bias else {}),
            "gamma": gamma,
            "beta": beta,
            "mean": random(4, seed=2),
            "variance": np.abs(random(4, seed=3)),
        },
    )


gammas = st.lists(st.sampled_from([0.0, 1e-8, -1e-8, 1e-3, -1e-3, 1.0, -1.0]), min_size=4, max_size=4)


@few(25)
@given(gammas, st.lists(st.floats(-2, 2, width=32), min_size=4, max_size=4), st.booleans())
def test_batch_norm_folds_for_every_gamma(gamma: list[float], beta: list[float], bias: bool) -> None:
    net = conv_norm(np.array(gamma, np.float32), np.array(beta, np.float32), bias)
    cleaned = clean(net)
    assert kinds(cleaned) == ["Conv", "Relu"]
    assert cleaned.graph.node[0].name == "c"  # as users know it, by its weight
    outputs_agree(net, cleaned)


def test_a_norm_that_no_layer_takes_in_is_a_depthwise_convolution() -> None:
    norm = ["n.weight", "beta", "mean", "variance"]
    net = model(
        [
            node("Conv", ["x", "w"], ["a"]),
            node("BatchNormalization", ["a", *norm], ["b"]),
            node("Add", ["a", "b"], ["y"]),
        ],
        {"w": random(4, 3, 1, 1), **{name: np.abs(random(4, seed=i)) for i, name in enumerate(norm)}},
    )
    cleaned = clean(net)
    assert kinds(cleaned) == ["Conv", "Conv", "Add"]
    assert [entry.name for entry in cleaned.graph.node][1] == "n"
    outputs_agree(net, cleaned)


def test_norms_fold_into_transposed_convolutions() -> None:
    norm = {
        "gamma": random(4, seed=3),
        "beta": random(4),
        "mean": random(4, seed=4),
        "variance": np.ones(4, np.float32),
    }
    net = model(
        [
            node("ConvTranspose", ["x", "w"], ["a"], strides=[2, 2]),
            node("BatchNormalization", ["a", *norm], ["y"]),
        ],
        {"w": random(3, 4, 2, 2), **norm},
    )
    cleaned = clean(net)
    assert kinds(cleaned) == ["ConvTranspose"]
    outputs_agree(net, cleaned)


def test_sequences_of_pieces_are_splits() -> None:
    net = model(
        [
            node("SplitToSequence", ["x", "size"], ["s"], name="cut", axis=1),
            node("SequenceAt", ["s", "one"], ["b"]),
            node("SequenceAt", ["s", "zero"], ["a"]),
            node("Concat", ["b", "a"], ["y"], axis=1),
        ],
        {"size": np.array(2), "one": np.array(1), "zero": np.array(0)},
    )
    cleaned = clean(net)
    assert kinds(cleaned) == ["Split", "Concat"]
    outputs_agree(net, cleaned)


@pytest.mark.parametrize("first", [True, False])
def test_a_constant_beside_every_sample_is_a_sum(first: bool) -> None:
    edges = ["t", "x"] if first else ["x", "t"]
    net = model(
        [
            node("Shape", ["x"], ["s"], start=0, end=1),
            node("Concat", ["s", "rest"], ["target"], axis=0),
            node("Expand", ["token", "target"], ["t"]),
            node("Concat", edges, ["y"], axis=1),
        ],
        {"token": random(1, 2, 6, 6), "rest": np.array([2, 6, 6])},
    )
    cleaned = clean(net)
    assert kinds(cleaned) == ["Pad", "Add"]
    outputs_agree(net, cleaned)


def test_a_norm_of_the_batch_at_hand_stays() -> None:
    operands = {"w": random(4, 3, 1, 1), **{name: np.ones(4, np.float32) for name in ("g", "b", "m", "v")}}
    norm = node("BatchNormalization", ["a", "g", "b", "m", "v"], ["y", "", ""], training_mode=1)
    assert kinds(clean(model([node("Conv", ["x", "w"], ["a"]), norm], operands))) == ["Conv", "BatchNormalization"]


@pytest.mark.parametrize("transposed", [0, 1])
def test_linear_layers_become_plain_gemms(transposed: int) -> None:
    weight = random(4, 108) if transposed else random(108, 4)
    net = model(
        [
            node("Flatten", ["x"], ["f"]),
            node("Gemm", ["f", "w", "b"], ["y"], alpha=0.5, beta=2.0, transB=transposed),
        ],
        {"w": weight, "b": random(1, 4)},
        output_rank=2,
    )
    cleaned = clean(net)
    assert constants(cleaned)["w"].shape == (4, 108)
    assert {entry.name: helper.get_attribute_value(entry) for entry in cleaned.graph.node[1].attribute} == {"transB": 1}
    outputs_agree(net, cleaned)


def test_matmul_and_its_bias_become_one_gemm() -> None:
    net = model(
        [
            node("Flatten", ["x"], ["f"]),
            node("MatMul", ["f", "w"], ["m"]),
            node("Add", ["b", "m"], ["s"]),
            node("Relu", ["s"], ["y"]),
        ],
        {"w": random(108, 4), "b": random(4)},
        output_rank=2,
    )
    cleaned = clean(net)
    assert kinds(cleaned) == ["Flatten", "Gemm", "Relu"]
    outputs_agree(net, cleaned)


def test_matmul_on_sequences_stays() -> None:
    net = model([node("MatMul", ["x", "w"], ["y"])], {"w": random(6, 4)})
    assert kinds(clean(net)) == ["MatMul"]


def test_what_does_nothing_goes_and_outputs_keep_their_names() -> None:
    net = model(
        [
            node("Identity", ["x"], ["i"]),
            node("Relu", ["i"], ["r"]),
            node("Dropout", ["r"], ["d"]),
            node("Identity", ["d"], ["y"]),
        ],
        {},
    )
    cleaned = clean(net)
    assert kinds(cleaned) == ["Relu"]
    outputs_agree(net, cleaned)


def test_computed_reshape_targets_become_constants() -> None:
    net = model(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"]),
            node("Unsqueeze", ["n", "axes"], ["n1"]),
            node("Concat", ["n1", "rest"], ["target"], axis=0),
            node("Reshape", ["x", "target"], ["y"]),
        ],
        {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])},
        output_rank=2,
    )
    cleaned = clean(net)
    assert kinds(cleaned) == ["Reshape"]
    assert list(constants(cleaned)["y_shape"]) == [-1, 108]
    outputs_agree(net, cleaned)


def test_constants_are_evaluated_and_owned_by_one_reader() -> None:
    net = model(
        [
            node("Constant", [], ["six"], value_float=6.0),
            node("Conv", ["x", "w"], ["a"]),
            node("Clip", ["a", "", "six"], ["b"]),
            node("Conv", ["b", "w"], ["c"]),
            node("Clip", ["c", "", "six"], ["y"]),
        ],
        {"w": random(3, 3, 1, 1)},
    )
    cleaned = clean(net)
    names = [name for entry in cleaned.graph.node for name in entry.input if name in constants(cleaned)]
    assert len(names) == len(set(names)) == 4
    outputs_agree(net, cleaned)


def test_the_batch_is_named_and_old_opsets_are_raised() -> None:
    net = model([node("Relu", ["x"], ["y"])], {}, opset=11)
    cleaned = clean(net)
    assert cleaned.opset_import[0].version >= 18
    assert cleaned.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert cleaned.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("keep", [1, 0])
@pytest.mark.parametrize(("reduction", "pool"), [("ReduceMean", "GlobalAveragePool"), ("ReduceMax", "GlobalMaxPool")])
def test_reductions_of_whole_maps_are_global_pools(reduction: str, pool: str, keep: int) -> None:
    nodes = [node(reduction, ["x", "axes"], ["y"], keepdims=keep)]
    net = model(nodes, {"axes": np.array([-1, 2])}, output_rank=4 if keep else 2)
    cleaned = clean(net)
    assert kinds(cleaned) == ([pool] if keep else [pool, "Flatten"])
    outputs_agree(net, cleaned)


def test_bounds_from_both_sides_are_a_clip() -> None:
    nodes = [node("Max", ["x", "low"], ["a"]), node("Min", ["a", "high"], ["y"])]
    net = model(nodes, {"low": np.array(0, np.float32), "high": np.array(0.5, np.float32)})
    cleaned = clean(net)
    assert kinds(cleaned) == ["Clip"]
    outputs_agree(net, cleaned)


def test_the_callers_model_is_untouched_and_notes_are_dropped() -> None:
    net = conv_norm(np.ones(4, np.float32), np.zeros(4, np.float32), bias=False)
    net.graph.node[0].doc_string = "made in /home/someone"
    before = net.SerializeToString(deterministic=True)
    cleaned = clean(net)
    assert net.SerializeToString(deterministic=True) == before
    assert b"someone" not in cleaned.SerializeToString()


def test_control_flow_is_refused_by_name() -> None:
    branch = helper.make_graph([node("Identity", ["x"], ["z"])], "b", [], [helper.make_empty_tensor_value_info("z")])
    net = model(
        [node("If", ["yes"], ["y"], name="choice", then_branch=branch, else_branch=branch)], {"yes": np.array(True)}
    )
    with pytest.raises(BadInputError, match="If 'choice': models with control flow are not supported"):
        clean(net)


def test_an_invalid_model_is_one_line() -> None:
    with pytest.raises(BadInputError, match="not a valid ONNX model") as caught:
        clean(model([node("Add", ["x", "nowhere"], ["y"])], {}))
    assert "\n" not in str(caught.value)


def test_one_element_of_an_axis_of_one_is_squeezed() -> None:
    zero = np.array(0, np.int64)
    net = model(
        [
            node("GlobalAveragePool", ["x"], ["p"]),
            node("Gather", ["p", "zero"], ["a"], axis=2),
            node("Gather", ["a", "zero"], ["b"], axis=-1),
            node("Gather", ["b", "second"], ["y"], axis=1),
        ],
        {"zero": zero, "second": zero + 1},
        output_rank=1,
    )
    cleaned = clean(net)
    assert kinds(cleaned) == ["GlobalAveragePool", "Squeeze", "Squeeze", "Gather"]
    outputs_agree(net, cleaned)


def test_a_state_that_begins_alike_for_each_sample_is_one_row() -> None:
    """As of a recurrent cell in a loop; what is computed of it alone is a constant."""
    nodes = [
        helper.make_node("Shape", ["x"], ["batch"], end=1),
        helper.make_node("Concat", ["batch", "four"], ["sizes"], axis=0),
        helper.make_node("ConstantOfShape", ["sizes"], ["h"]),
        helper.make_node("Gemm", ["h", "w", "b"], ["g"]),
        helper.make_node("Split", ["g"], ["r", "z"], axis=1, num_outputs=2),
        helper.make_node("Add", ["x", "r"], ["s"]),
        helper.make_node("Sub", ["h", "s"], ["t"]),
        helper.make_node("Mul", ["t", "z"], ["y"]),
    ]
    weights = {"four": np.array([4]), "w": random(4, 8), "b": random(8, seed=1)}
    net, x = model(nodes, weights, ("N", 4), output_rank=2), random(5, 4)
    plain = clean(net)
    assert set(kinds(plain)) == {"Add", "Sub", "Mul"}
    np.testing.assert_allclose(Reference(plain).run({"x": x})["y"], Reference(net).run({"x": x})["y"], rtol=1e-6)


@pytest.mark.parametrize("reader", ["Concat", "output"])
def test_a_state_that_has_to_be_as_long_as_the_batch_stays(reader: str) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["batch"], end=1),
        helper.make_node("Concat", ["batch", "four"], ["sizes"], axis=0),
        helper.make_node("Expand", ["one", "sizes"], ["h" if reader == "Concat" else "y"]),
    ]
    nodes += [helper.make_node("Concat", ["x", "h"], ["y"], axis=1)] if reader == "Concat" else []
    weights = {"four": np.array([4]), "one": np.ones((1, 1), np.float32)}
    net, x = model(nodes, weights, ("N", 4), output_rank=2), random(5, 4)
    np.testing.assert_array_equal(Reference(clean(net)).run({"x": x})["y"], Reference(net).run({"x": x})["y"])


def test_a_constant_is_cast_as_the_tensor_beside_it() -> None:
    nodes = [node("CastLike", ["two", "x"], ["t"]), node("Mul", ["x", "t"], ["y"])]
    cleaned = clean(model(nodes, {"two": np.array(2, np.int64)}))
    assert kinds(cleaned) == ["Mul"]
    (value,) = constants(cleaned).values()
    assert (value.dtype, float(value)) == (np.float32, 2.0)


@pytest.mark.parametrize("shared", [False, True])
def test_a_transposed_weight_keeps_its_name_where_nothing_else_reads_it(shared: bool) -> None:
    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("Transpose", ["fc.weight"], ["t"], perm=[1, 0]),
        node("MatMul", ["f", "t"], ["m"]),
        *([node("MatMul", ["m", "fc.weight"], ["n"])] if shared else []),
        node("Relu", ["n" if shared else "m"], ["y"]),
    ]
    net = model(nodes, {"fc.weight": random(4, 108)}, output_rank=2)
    cleaned = clean(net)
    layers = [entry.name for entry in cleaned.graph.node if entry.op_type == "Gemm"]
    assert ("fc" in layers[:1]) == (not shared)
    outputs_agree(net, cleaned)


def test_several_results_of_constants_are_all_evaluated() -> None:
    halves = node("Split", ["c"], ["a", "b"], axis=0, num_outputs=2)
    net = model(
        [halves, node("Add", ["x", "a"], ["s"]), node("Mul", ["s", "b"], ["y"])],
        {"c": np.array([[[[2.0]]], [[[3.0]]]], np.float32)},
    )
    cleaned = clean(net)
    assert kinds(cleaned) == ["Add", "Mul"]
    outputs_agree(net, cleaned)


def test_optional_operands_that_are_absent_do_not_keep_constants_from_being_evaluated() -> None:
    nodes = [node("Clip", ["c", "", "one"], ["b"]), node("Add", ["x", "b"], ["y"])]
    cleaned = clean(model(nodes, {"c": np.array(2.0, np.float32), "one": np.array(1.0, np.float32)}))
    assert kinds(cleaned) == ["Add"]
    assert [float(value) for value in constants(cleaned).values()] == [1.0]


def test_quantisers_of_constants_are_not_evaluated() -> None:
    scale = {"s": np.array(0.5, np.float32), "z": np.array(0, np.int8)}
    nodes = [
        node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        node("Conv", ["x", "v"], ["y"]),
    ]
    cleaned = clean(model(nodes, {"w": np.ones((3, 3, 1, 1), np.int8), **scale}))
    assert kinds(cleaned) == ["DequantizeLinear", "Conv"]


def test_a_dropout_whose_mask_is_read_stays() -> None:
    nodes = [
        node("Dropout", ["x"], ["d", "mask"]),
        node("Cast", ["mask"], ["m"], to=1),
        node("Add", ["d", "m"], ["y"]),
    ]
    assert kinds(clean(model(nodes, {})))[0] == "Dropout"
    assert kinds(clean(model([node("Dropout", ["x"], ["d", "mask"]), node("Relu", ["d"], ["y"])], {}))) == ["Relu"]


def test_layers_that_share_a_weight_have_names_of_their_own_and_so_has_what_had_none() -> None:
    nodes = [
        node("Conv", ["x", "c.weight"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "c.weight"], ["y"], name="kept"),
    ]
    names = [entry.name for entry in clean(model(nodes, {"c.weight": random(3, 3, 1, 1)})).graph.node]
    assert names[0] == "c"
    assert names[2] == "c_1"
    assert len(set(names)) == 3
    assert names[1]


@pytest.mark.parametrize(("opset", "after"), [(13, 18), (17, 18), (18, 18), (19, 19), (21, 21)])
def test_opsets_before_18_are_raised_to_it(opset: int, after: int) -> None:
    net = model([node("Relu", ["x"], ["y"])], {}, opset=opset)
    net.opset_import[0].domain = "ai.onnx" if opset == 19 else ""
    assert clean(net).opset_import[0].version == after


def test_a_batch_that_is_a_number_stays_and_scalars_have_none() -> None:
    net = model([node("Mul", ["x", "g"], ["y"])], {}, input_shape=(2, 3, 6, 6))
    net.graph.input.append(helper.make_tensor_value_info("g", onnx.TensorProto.FLOAT, []))
    first, second = clean(net).graph.input
    assert first.type.tensor_type.shape.dim[0].dim_value == 2
    assert not second.type.tensor_type.shape.dim


@pytest.mark.parametrize(("shape", "axis"), [((1, 512), 1), ((40, 5), 0), ((3, 40), 1)])
def test_elements_gathered_from_a_long_constant_are_those_of_the_runtime(shape: tuple[int, int], axis: int) -> None:
    """A BERT's token types: one row of positions, of which a sequence takes the first."""
    held = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    places = np.random.default_rng(0).integers(0, shape[axis], (1, 4) if axis else (4, 1))
    before = model(
        [
            node("GatherElements", ["held", "places"], ["taken"], axis=axis),
            node("ReduceSum", ["taken"], ["sum"], keepdims=0),
            node("Add", ["x", "sum"], ["y"]),
        ],
        {"held": held, "places": places},
    )
    after = clean(before)
    assert "GatherElements" not in kinds(after)
    outputs_agree(before, after)
