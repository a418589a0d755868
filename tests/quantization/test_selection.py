import pytest

from edgekd.errors import BadInputError
from edgekd.quantization.graph_ir import Op, View
from edgekd.quantization.placement import place
from edgekd.quantization.scheme import SCHEMES
from edgekd.quantization.selection import select

ASYMMETRIC = SCHEMES["int8-asymmetric"]


def op(name: str, kind: str, inputs: str) -> Op:
    """An operation whose edge is its name, marked."""
    return Op(name, kind, tuple(inputs.split()), (f"{name}:0",), kind in {"Conv", "Gemm"})


NET = View(
    (
        op("stem", "Conv", "x"),
        op("relu", "Relu", "stem:0"),
        op("pool", "MaxPool", "relu:0"),
        op("left", "Conv", "pool:0"),
        op("right", "Conv", "pool:0"),
        op("join", "Concat", "left:0 right:0"),
        op("gate", "Sigmoid", "join:0"),
        op("head", "Gemm", "gate:0"),
    ),
    ("x",),
    ("head:0",),
)


def kept(*patterns: str) -> set[str]:
    return {each.name for each in select(NET, patterns).ops}


def test_layers_are_named_by_glob_and_by_type() -> None:
    assert kept("*t") == {"left", "right"}
    assert kept("type:Conv") == {"stem", "left", "right"}
    assert kept("type:S*", "head") == {"gate", "head"}


def test_between_names_all_ways_from_one_layer_to_another() -> None:
    assert kept("between:left, gate") == {"left", "join", "gate"}
    assert kept("between:pool,join:0") == {"stem", "left", "right", "join"}


def test_what_only_moves_values_or_is_fused_stands_for_the_layer_that_makes_them() -> None:
    assert kept("pool") == kept("relu") == {"stem"}


def test_a_kept_concat_leaves_no_quantiser_on_what_it_makes() -> None:
    assert "join:0" in place(NET, ASYMMETRIC).groups
    placement = place(NET, ASYMMETRIC, ["join"])
    assert "join:0" not in placement.groups
    assert placement.groups["left:0"] != placement.groups["right:0"]
    assert placement == place(NET, ASYMMETRIC, ["join:0"])


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("type:Conf", r"'type:Conf' matches no layer; did you mean 'Conv'\?"),
        ("between:left", "needs two layers"),
        ("between:head,stem", "no way leads from the first layer to the last"),
        ("between:lefd,head", r"'lefd' matches no layer; did you mean 'left'\?"),
    ],
)
def test_what_names_nothing_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        select(NET, [pattern])


def test_a_move_of_an_input_is_refused_rather_than_ignored() -> None:
    net = View((op("flat", "Flatten", "x"), op("head", "Gemm", "flat:0")), ("x",), ("head:0",))
    with pytest.raises(BadInputError, match="'flat' only moves values of an input"):
        select(net, ["flat"])


def branch() -> View:
    """Two ways that meet, and one beside them."""
    return View(
        (
            op("a", "Conv", "x"), op("b", "Conv", "a:0"), op("c", "Conv", "a:0"), op("side", "Sigmoid", "a:0"),
            op("d", "Concat", "b:0 c:0"), op("e", "Gemm", "d:0"), op("out", "Concat", "e:0 side:0"),
        ),
        ("x",),
        ("out:0",),
    )  # fmt: skip


def test_between_takes_every_way_and_no_other() -> None:
    def names(pattern: str) -> set[str]:
        return {each.name for each in select(branch(), [pattern]).ops}

    assert names("between:a,d") == {"a", "b", "c", "d"}
    assert names("between:b,e") == {"b", "d", "e"}
    assert names("between:a,out") == {"a", "b", "c", "d", "e", "side", "out"}
    assert names("between:e,e") == {"e"}
    assert names("between:[bc],d") == {"b", "c", "d"}
    assert select(branch(), ["between:b,e"]).edges == {"d:0"}


def test_a_fused_or_moved_operation_stands_for_its_layer_however_far() -> None:
    net = View(
        (
            op("conv", "Conv", "x"), op("bias", "Add", "conv:0"), op("relu", "Relu", "bias:0"),
            op("turn", "Transpose", "relu:0"), op("flat", "Flatten", "turn:0"), op("soft", "Sigmoid", "flat:0"),
            op("shape", "Reshape", "soft:0"), op("head", "Gemm", "shape:0"),
        ),
        ("x",),
        ("head:0",),
    )  # fmt: skip
    constant = tuple(
        Op(each.name, each.kind, each.inputs, each.outputs, each.constant or each.name == "bias") for each in net.ops
    )
    net = View(constant, net.inputs, net.outputs)
    for name, layer in (("relu", "conv"), ("bias", "conv"), ("flat", "conv"), ("turn", "conv"), ("shape", "soft")):
        assert {each.name for each in select(net, [name]).ops} == {layer}
    assert {each.name for each in select(net, ["soft"]).ops} == {"soft"}


def test_edges_are_kept_as_they_are_named_even_of_inputs() -> None:
    kept_edges = select(NET, ["x"])
    assert (kept_edges.ops, kept_edges.edges) == (frozenset(), frozenset({"x"}))
    both = select(NET, ["left*"])
    assert ({each.name for each in both.ops}, both.edges) == ({"left"}, {"left:0"})
    assert select(NET, []) == select(NET, ())
