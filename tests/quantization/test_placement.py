from dataclasses import replace

import pytest

from edgekd.errors import BadInputError
from edgekd.quantization.float_rules import float_rules
from edgekd.quantization.graph_ir import Op, View
from edgekd.quantization.placement import Placement, kernel_edges, place, share_moved
from edgekd.quantization.ranges import Affine
from edgekd.quantization.scheme import SCHEMES, Scheme
from edgekd.quantization.selection import Kept

ASYMMETRIC, SYMMETRIC = SCHEMES["int8-asymmetric"], SCHEMES["int8-symmetric"]


def op(kind: str, inputs: str, output: str) -> Op:
    """An operation named by its output."""
    edges = tuple(inputs.split())
    constant = kind in {"Conv", "Gemm"} or (kind in {"Add", "MatMul"} and len(edges) == 1)
    return Op(output, kind, edges, (output,), constant)


def view(*ops: Op, outputs: str = "y") -> View:
    return View(ops, ("x",), tuple(outputs.split()))


def edges(placement: Placement) -> set[str]:
    return set(placement.groups)


def test_a_kernel_is_quantised_around_what_fuses_into_it() -> None:
    net = view(op("Conv", "x", "a"), op("BatchNormalization", "a", "b"), op("Relu", "b", "c"), op("Gemm", "c", "y"))
    placement = place(net, ASYMMETRIC)
    assert edges(placement) == {"x", "c", "y"}
    assert placement.weights == {"a", "y"}
    assert len(set(placement.groups.values())) == 3


def test_a_relu_whose_input_is_read_elsewhere_is_not_fused() -> None:
    net = view(
        op("Conv", "x", "a"), op("Relu", "a", "b"), op("Conv", "b", "c"), op("Add", "a c", "d"), op("Conv", "d", "y")
    )
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "b", "c", "d", "y"}


def test_only_one_activation_fuses() -> None:
    net = view(op("Conv", "x", "a"), op("Clip", "a", "b"), op("Relu", "b", "c"), op("Gemm", "c", "y"))
    placement = place(net, ASYMMETRIC)
    assert edges(placement) == {"x", "b", "c", "y"}


def residual_block() -> View:
    return view(
        op("Conv", "x", "a"),
        op("Relu", "a", "b"),
        op("Conv", "b", "main"),
        op("Conv", "x", "short"),
        op("Add", "main short", "sum"),
        op("Relu", "sum", "next"),
        op("Conv", "next", "y"),
    )


def test_asymmetric_adds_are_quantised_on_both_inputs_and_after_their_relu() -> None:
    assert edges(place(residual_block(), ASYMMETRIC)) == {"x", "b", "main", "short", "next", "y"}


def test_symmetric_adds_leave_the_deeper_branch_to_the_kernel() -> None:
    assert edges(place(residual_block(), SYMMETRIC)) == {"x", "b", "short", "next", "y"}


def test_an_identity_skip_shares_the_tensor_of_the_next_kernel() -> None:
    net = view(op("Conv", "x", "a"), op("Conv", "a", "b"), op("Add", "a b", "c"), op("Conv", "c", "y"))
    assert edges(place(net, SYMMETRIC)) == {"x", "a", "c", "y"}
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "b", "c", "y"}


def test_moving_operations_share_and_are_not_observed_twice() -> None:
    net = view(op("Conv", "x", "a"), op("MaxPool", "a", "b"), op("Flatten", "b", "c"), op("Gemm", "c", "y"))
    placement = place(net, ASYMMETRIC)
    assert len({placement.groups[edge] for edge in "abc"}) == 1
    assert placement.observed == ("x", "a", "y")


def test_average_pools_have_a_scale_of_their_own() -> None:
    net = view(op("Conv", "x", "a"), op("GlobalAveragePool", "a", "b"), op("Flatten", "b", "c"), op("Gemm", "c", "y"))
    placement = place(net, ASYMMETRIC)
    assert placement.groups["a"] != placement.groups["b"] == placement.groups["c"]


def test_concat_shares_one_scale_over_all_its_edges() -> None:
    net = view(op("Conv", "x", "a"), op("Conv", "x", "b"), op("Concat", "a b", "c"), op("Conv", "c", "y"))
    placement = place(net, ASYMMETRIC)
    assert placement.groups["a"] == placement.groups["b"] == placement.groups["c"]
    assert placement.observed == ("x", "a", "b", "y")


def test_concat_of_a_fixed_edge_keeps_it_fixed_and_watches_the_result() -> None:
    net = view(op("Conv", "x", "a"), op("Sigmoid", "a", "b"), op("Concat", "a b", "c"), op("Conv", "c", "y"))
    placement = place(net, ASYMMETRIC)
    assert placement.fixed == {"b": Affine(1 / 256, 0)}
    assert placement.groups["a"] == placement.groups["c"] != placement.groups["b"]
    assert placement.observed == ("x", "a", "c", "y")


@pytest.mark.parametrize(
    ("kind", "asymmetric", "symmetric"),
    [
        ("Softmax", Affine(1 / 256, 0), Affine(1 / 127, 0)),
        ("Sigmoid", Affine(1 / 256, 0), Affine(1 / 127, 0)),
        ("Tanh", Affine(1 / 128, 128), Affine(1 / 127, 0)),
    ],
)
def test_squashing_outputs_are_fixed_through_what_moves_them(kind: str, asymmetric: Affine, symmetric: Affine) -> None:
    net = view(op("Gemm", "x", "a"), op(kind, "a", "b"), op("Reshape", "b", "c"), op("Gemm", "c", "y"))
    assert place(net, ASYMMETRIC).fixed == {"b": asymmetric, "c": asymmetric}
    assert place(net, SYMMETRIC).fixed == {"b": symmetric, "c": symmetric}
    assert place(net, ASYMMETRIC).groups["b"] == place(net, ASYMMETRIC).groups["c"]


def test_unknown_operations_are_float_islands() -> None:
    net = view(op("Mystery", "x", "a"), op("MaxPool", "a", "b"), op("Mystery", "b", "y"))
    assert edges(place(net, ASYMMETRIC)) == set()
    net = view(
        op("Conv", "x", "a"), op("Mystery", "a", "b"), op("Relu", "b", "c"), op("Conv", "c", "d"), op("Erf", "d", "y")
    )
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "c", "d"}


def test_keep_float_takes_globs_of_layers_and_edges() -> None:
    net = view(op("Conv", "x", "a1"), op("Relu", "a1", "b"), op("Conv", "b", "a2"), op("Gemm", "a2", "y"))
    placement = place(net, ASYMMETRIC, ["a*"])
    assert placement.weights == frozenset()
    assert edges(placement) == {"y"}
    placement = place(net, ASYMMETRIC, ["a1"])
    assert placement.weights == {"a2", "y"}
    assert edges(placement) == {"b", "a2", "y"}


def test_keep_float_that_matches_nothing_names_the_nearest_layer() -> None:
    with pytest.raises(BadInputError, match=r"keep_float: 'convv' matches no layer; did you mean 'conv'\?"):
        place(view(op("Conv", "x", "conv"), op("Gemm", "conv", "y")), ASYMMETRIC, ["convv"])


def test_products_of_activations_are_quantised_where_the_scheme_has_a_kernel() -> None:
    net = view(
        op("Conv", "x", "a"), op("Conv", "x", "b"), op("Mul", "a b", "c"), op("Elu", "c", "d"), op("Conv", "d", "y")
    )
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "b", "c", "d", "y"}
    assert edges(place(net, SYMMETRIC)) == {"x", "a", "b", "d", "y"}


def test_what_moves_values_is_covered_from_either_side() -> None:
    net = view(op("Unsqueeze", "x", "a"), op("GlobalAveragePool", "a", "b"), op("Squeeze", "b", "y"))
    wide, narrow = Affine(0.5, 3), Affine(0.25, 7)
    assert share_moved(net, {"x": wide, "y": narrow}) == {"x": wide, "a": wide, "b": narrow, "y": narrow}


def test_a_norm_that_no_layer_takes_in_is_a_kernel_of_its_own() -> None:
    net = view(
        op("Conv", "x", "a"),
        op("Add", "a x", "b"),
        op("BatchNormalization", "b", "c"),
        op("Relu", "c", "d"),
        op("Conv", "d", "y"),
    )
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "b", "d", "y"}


def test_transposed_convolutions_are_kernels_where_the_target_has_them() -> None:
    net = view(op("Conv", "x", "a"), Op("b", "ConvTranspose", ("a",), ("b",), True), op("Relu", "b", "y"))
    assert place(net, ASYMMETRIC).weights == {"a", "b"}
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "y"}
    assert place(net, SYMMETRIC).weights == {"a"}
    assert edges(place(net, SYMMETRIC)) == {"x", "a"}


def attention_block(reader: str) -> View:
    """A float product, its mask and softmax, another product, a layer, the residual sum, a norm and `reader`."""
    return view(
        op("MatMul", "q k", "scores"),
        op("Add", "scores mask", "masked"),
        op("Softmax", "masked", "shares"),
        op("Transpose", "shares", "moved"),
        op("MatMul", "moved v", "context"),
        op("Gemm", "context", "projected"),
        op("Add", "projected x", "sum"),
        op("LayerNormalization", "sum", "normal"),
        op(reader, "sum normal", "next"),
        op("LayerNormalization", "next", "y"),
    )


def test_sums_and_softmaxes_between_float_operations_stay_in_float() -> None:
    """The second sum is read by a norm alone, so the first one is read by floats alone, too."""
    assert edges(place(attention_block("Add"), ASYMMETRIC)) == {"context", "projected"}


def test_a_sum_that_an_integer_kernel_reads_is_quantised() -> None:
    block = attention_block("Concat")
    behind = View((*block.ops, op("Gemm", "next", "z")), ("x",), ("z",))
    assert {"projected", "x", "sum"} <= edges(place(behind, ASYMMETRIC))


def test_of_integer_outputs_all_are_quantised() -> None:
    """TFLite-Micro knows int8 alone: what would be a float tail elsewhere is an integer kernel there."""
    net = view(op("Gemm", "x", "a"), op("Softmax", "a", "y"))
    assert edges(place(net, ASYMMETRIC)) == {"x", "a"}
    assert edges(place(net, replace(ASYMMETRIC, float_tail=False))) == {"x", "a", "y"}


@pytest.mark.parametrize("scheme", ["htp-w8a8", "htp-w8a16"])
def test_a_chip_that_would_compute_in_float16_has_all_in_integers(scheme: str) -> None:
    """Attention, its sums and norms, products with constants; what fuses into a kernel has no quantiser inside."""
    block = attention_block("Add")
    net = View((*block.ops, op("Mul", "y", "scaled"), op("Conv", "scaled", "c"), op("Relu", "c", "z")), ("x",), ("z",))
    made = {edge for each in net.ops for edge in each.outputs}
    assert edges(place(net, SCHEMES[scheme])) == {"x", *made} - {"c"}


def test_a_chip_that_has_no_float_weighs_channels_in_integers() -> None:
    """MobileNetV3's block: a hard swish, which two read, and a gate; others leave both in float beside the layers."""
    net = view(
        op("Conv", "x", "a"),
        op("HardSwish", "a", "b"),
        op("GlobalAveragePool", "b", "means"),
        op("Conv", "means", "c"),
        op("HardSigmoid", "c", "gate"),
        op("Mul", "b gate", "weighed"),
        op("Conv", "weighed", "y"),
    )
    whole = {edge for each in net.ops for edge in (*each.inputs, *each.outputs)}
    assert edges(place(net, SCHEMES["ethos-w8a8"])) == whole
    assert not {"gate", "b"} & edges(place(net, ASYMMETRIC))


def detector(decoder: Op) -> View:
    """A backbone and a head that ends in boxes (through `decoder`) beside scores."""
    return view(
        op("Conv", "x", "a"),
        op("Conv", "a", "raw"),
        op("Transpose", "raw", "moved"),
        op("Softmax", "moved", "shares"),
        decoder,
        op("Conv", "a", "logits"),
        op("Sigmoid", "logits", "scores"),
        op("Concat", "boxes scores", "y"),
    )


def test_what_follows_the_last_layers_stays_in_float_but_for_moves() -> None:
    """Arithmetic with constant weights, as a box decoder's, follows them; a layer that makes an output does not."""
    arithmetic = Op("boxes", "Conv", ("shares",), ("boxes",), constant=True, arithmetic=True)
    assert edges(place(detector(arithmetic), ASYMMETRIC)) == {"x", "a", "raw", "moved", "logits"}
    learned = op("Conv", "shares", "boxes")
    placement = place(detector(learned), ASYMMETRIC)
    assert edges(placement) == {"x", "a", "raw", "moved", "shares", "boxes", "logits"}
    assert placement.weights == {"a", "raw", "logits", "boxes"}


def test_arithmetic_that_a_layer_follows_is_a_layer() -> None:
    blur = Op("b", "Conv", ("x",), ("b",), constant=True, arithmetic=True)
    assert place(view(blur, op("Conv", "b", "y")), ASYMMETRIC).weights == {"b", "y"}


@pytest.mark.parametrize("join", ["Add", "Mul"])
def test_a_join_beside_a_float_operation_is_float_and_so_is_what_joins_it(join: str) -> None:
    net = view(
        op("Conv", "x", "a"),
        op("Erf", "a", "e"),
        op(join, "a e", "b"),
        op("Conv", "a", "c"),
        op("Add", "b c", "d"),
        op("AveragePool", "d", "p"),
        op("Conv", "p", "y"),
    )
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "c", "p", "y"}


def test_a_join_of_what_integer_kernels_make_is_integer_through_moves_and_sigmoids() -> None:
    net = view(
        op("Conv", "x", "a"), op("Sigmoid", "a", "s"), op("Mul", "a s", "m"), op("MaxPool", "m", "p"),
        op("Add", "p x", "b"), op("Conv", "b", "y"),
    )  # fmt: skip
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "s", "m", "p", "b", "y"}


def concat(first: str, second: str) -> View:
    return view(op(first, "x", "a"), op(second, "x", "b"), op("Concat", "a b", "c"), op("Conv", "c", "y"))


def test_a_concat_of_unlike_ranges_shares_no_scale() -> None:
    net, like, unlike = concat("Conv", "Conv"), {"a": (0.0, 4.0), "b": (-0.5, 0.6)}, {"a": (0.0, 500.0), "b": (0, 1)}
    assert len(set(place(net, ASYMMETRIC, (), like).groups.values())) == 3
    apart = place(net, ASYMMETRIC, (), unlike)
    assert len(set(apart.groups.values())) == 5
    assert apart.observed == ("x", "a", "b", "c", "y")
    assert place(net, ASYMMETRIC).joined == ("c",)


def test_a_concat_at_an_output_is_float_and_its_parts_share_nothing() -> None:
    net = view(op("Conv", "x", "a"), op("Conv", "x", "b"), op("Concat", "a b", "y"))
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "b"}
    assert len(set(place(net, ASYMMETRIC).groups.values())) == 3


def test_a_concat_beside_a_fixed_range_is_unlike_where_the_other_is_narrow() -> None:
    net = view(
        op("Conv", "x", "a"), op("Conv", "x", "s"), op("Sigmoid", "s", "b"), op("Concat", "a b", "c"),
        op("Conv", "c", "y"),
    )  # fmt: skip
    narrow = place(net, ASYMMETRIC, (), {"a": (0.0, 0.1)})
    assert narrow.groups["a"] != narrow.groups["c"]


def test_a_concat_of_float_parts_is_quantised_only_where_a_kernel_reads_it() -> None:
    parts = op("Conv", "x", "a"), op("Erf", "a", "e"), op("Concat", "a e", "c")
    assert edges(place(view(*parts, op("Erf", "c", "d"), op("Conv", "d", "y")), ASYMMETRIC)) == {"x", "a", "d", "y"}
    assert edges(place(view(*parts, op("Conv", "c", "y")), ASYMMETRIC)) == {"x", "a", "e", "c", "y"}


def u_net() -> View:
    return view(
        op("Conv", "x", "a"), op("MaxPool", "a", "b"), op("Conv", "b", "c"), op("Resize", "c", "d"),
        op("Concat", "a d", "e"), op("Conv", "e", "y"),
    )  # fmt: skip


@pytest.mark.parametrize("net", [residual_block(), u_net()], ids=["residual", "u-net"])
def test_the_rules_leave_networks_without_float_parts_as_they_are(net: View) -> None:
    assert not float_rules(net, ASYMMETRIC, Kept()).ops
    like = dict.fromkeys(place(net, ASYMMETRIC).observed, (-1.0, 1.0))
    assert (
        place(net, ASYMMETRIC, (), like) == place(net, ASYMMETRIC) == place(net, replace(ASYMMETRIC, float_tail=False))
    )


@pytest.mark.parametrize(("wide", "shared"), [(4.0, True), (4.1, False)])
@pytest.mark.parametrize("narrow", [(0.0, 1.0), (-0.75, 0.25), (-1.0, -0.5), (0.5, 1.0)])
def test_ranges_are_unlike_from_four_times_on_with_zero_among_them(
    narrow: tuple[float, float], wide: float, shared: bool
) -> None:
    placement = place(concat("Conv", "Conv"), ASYMMETRIC, (), {"a": (0.0, wide), "b": narrow})
    assert (placement.groups["a"] == placement.groups["b"] == placement.groups["c"]) == shared


def test_a_part_of_zeros_and_one_of_unknown_range_go_with_any() -> None:
    for ranges in ({"a": (0.0, 500.0), "b": (0.0, 0.0)}, {"a": (0.0, 500.0)}, {}):
        placement = place(concat("Conv", "Conv"), ASYMMETRIC, (), ranges)
        assert placement.groups["a"] == placement.groups["b"] == placement.groups["c"]


def test_the_range_of_a_moved_part_is_that_of_what_was_moved() -> None:
    net = view(
        op("Conv", "x", "a"), op("Conv", "x", "b"), op("Concat", "a b", "j"), op("MaxPool", "j", "m"),
        op("Conv", "x", "c"), op("Concat", "m c", "d"), op("Conv", "d", "y"),
    )  # fmt: skip
    ranges = {"a": (0.0, 1.0), "b": (-1.0, 2.0), "c": (0.0, 8.0)}
    assert len(set(place(net, ASYMMETRIC, (), ranges).groups.values())) == 3
    assert len(set(place(net, ASYMMETRIC, (), ranges | {"c": (0.0, 13.0)}).groups.values())) == 5


@pytest.mark.parametrize(("scheme", "width"), [(ASYMMETRIC, 255 / 256), (SYMMETRIC, 255 / 127)])
def test_a_fixed_range_is_as_wide_as_its_scale_makes_it(scheme: Scheme, width: float) -> None:
    net = view(
        op("Conv", "x", "a"), op("Conv", "x", "s"), op("Sigmoid", "s", "b"), op("Concat", "a b", "c"),
        op("Conv", "c", "y"),
    )  # fmt: skip
    for wide, shared in ((4 * width - 0.01, True), (4 * width + 0.01, False)):
        placement = place(net, scheme, (), {"a": (0.0, wide)})
        assert (placement.groups["a"] == placement.groups["c"]) == shared


def test_fixed_parts_alone_fix_what_joins_them() -> None:
    for second, fixed in (("Sigmoid", True), ("Tanh", False)):
        net = view(
            op("Conv", "x", "a"), op("Sigmoid", "a", "s"), op(second, "a", "t"), op("Concat", "s t", "c"),
            op("Conv", "c", "y"),
        )  # fmt: skip
        assert ("c" in place(net, ASYMMETRIC).fixed) == fixed


def residual(first: str, *more: Op) -> Placement:
    """Three ways to a symmetric sum that a layer reads: of two layers, of one, and of none."""
    ops = op("Conv", "x", "a"), op("Conv", "a", "deep"), op("Conv", "x", "flat"), op("MaxPool", "x", "moved")
    return place(view(*ops, op("Add", first, "sum"), op("Conv", "sum", "y"), *more), SYMMETRIC)


@pytest.mark.parametrize(
    ("operands", "fused"),
    [
        ("deep flat", "deep"), ("flat deep", "deep"), ("moved flat", "flat"), ("flat moved", "flat"),
        ("moved moved", None), ("x flat", "flat"),
    ],
)  # fmt: skip
def test_the_deeper_branch_that_a_layer_ends_fuses_with_the_sum(operands: str, fused: str | None) -> None:
    assert {edge for edge in operands.split() if edge not in residual(operands).groups} == {fused} - {None}


def test_a_branch_that_something_else_reads_does_not_fuse() -> None:
    assert "flat" not in residual("deep flat", op("Conv", "deep", "z")).groups
    assert {"flat", "deep"} <= residual("deep flat", op("Conv", "deep", "z"), op("Conv", "flat", "v")).groups.keys()


def test_biases_and_norms_belong_to_the_layer_that_ends_a_branch() -> None:
    net = view(
        op("MatMul", "x", "a"), op("Add", "a", "b"), op("Conv", "x", "c"), op("BatchNormalization", "c", "d"),
        op("Conv", "d", "e"), op("Add", "b e", "s"), op("Conv", "s", "y"),
    )  # fmt: skip
    assert edges(place(net, SYMMETRIC)) == {"x", "d", "b", "s", "y"}
    alone = view(
        op("MatMul", "x", "a"), op("Add", "a", "b"), op("Relu", "x", "r"), op("Add", "b r", "s"), op("Conv", "s", "y")
    )
    assert edges(place(alone, SYMMETRIC)) == {"x", "r", "s", "y"}


def test_what_no_operation_makes_has_no_layers_before_it() -> None:
    for operands, fused in (("u v", "u"), ("v u", "v")):
        net = view(op("Conv", "unknown", "u"), op("Conv", "x", "v"), op("Add", operands, "s"), op("Conv", "s", "y"))
        assert fused not in place(net, SYMMETRIC).groups
        drawn = view(op("Random", "", "r"), op("Conv", "r", "u"), *net.ops[1:])
        assert fused not in place(drawn, SYMMETRIC).groups


def test_a_layer_reads_and_writes_what_lies_around_its_kernel() -> None:
    assert kernel_edges(residual_block(), ASYMMETRIC) == {
        "a": ("x", "b"), "main": ("b", "main"), "short": ("x", "short"), "y": ("next", "y"),
    }  # fmt: skip
    up = View((Op("b", "ConvTranspose", ("x",), ("b",), True),), ("x",), ("b",))
    assert kernel_edges(up, SYMMETRIC) == {"b": ()}


def test_splits_share_and_moved_parameters_reach_all_their_parts() -> None:
    halves = Op("split", "Split", ("a",), ("b", "c"))
    net = view(op("Conv", "x", "a"), halves, op("Conv", "b", "d"), op("Conv", "c", "e"), op("Add", "d e", "y"))
    groups = place(net, ASYMMETRIC).groups
    assert groups["a"] == groups["b"] == groups["c"]
    one, other = Affine(0.5, 3), Affine(0.25, 7)
    assert share_moved(net, {"a": one}) == {"a": one, "b": one, "c": one}
    assert share_moved(net, {"b": one}) == {"a": one, "b": one, "c": one}
    assert share_moved(net, {"a": one, "c": other}) == {"a": one, "b": one, "c": other}
    assert share_moved(net, {"x": one}) == {"x": one}


def test_a_relu_of_integers_stays_integer_whoever_reads_it() -> None:
    net = view(
        op("Conv", "x", "a"), op("Conv", "a", "c"), op("Relu", "a", "b"), op("Erf", "b", "e"), op("Conv", "e", "y")
    )
    assert edges(place(net, ASYMMETRIC)) == {"x", "a", "c", "b", "e", "y"}
