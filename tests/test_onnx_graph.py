import time
from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import BadInputError
from edgekd.onnx_graph import Graph, attribute, constants, label, set_attribute, sort_nodes
from tests.properties import few

node = helper.make_node


def model(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), **initialisers: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in initialisers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def kinds(found: onnx.ModelProto) -> list[str]:
    return [entry.op_type for entry in found.graph.node]


def assert_indexed(graph: Graph) -> None:
    """The look-ups say what a scan of all nodes says."""
    edges = {name for entry in graph.nodes for name in (*entry.input, *entry.output)} | {"x", "gone"}
    for edge in edges - {""}:
        makers = [entry for entry in graph.nodes if edge in entry.output]
        readers = [entry for entry in graph.nodes if edge in entry.input]
        assert graph.producer(edge) is (makers[0] if makers else None)
        assert sorted(map(id, graph.consumers(edge))) == sorted(map(id, readers))
        only = readers[0] if len(readers) == 1 and edge not in graph.outputs else None
        assert graph.only_consumer(edge) is only


def chain(length: int) -> Graph:
    names = ["x", *(f"t{i}" for i in range(1, length)), "y"]
    return Graph(model(*(node("Relu", [a], [b], name=b) for a, b in pairwise(names))))


edits = st.lists(st.tuples(st.sampled_from(["bypass", "add", "reroute", "inputs"]), st.integers(0, 99)), max_size=12)


@few(50)
@given(edits)
def test_look_ups_stay_right_under_edits(steps: list[tuple[str, int]]) -> None:
    graph = chain(6)
    for kind, number in steps:
        nodes = graph.nodes
        chosen, edge = nodes[number % len(nodes)], nodes[number // 7 % len(nodes)].output[0]
        if kind == "bypass" and len(nodes) > 1:
            graph.bypass(chosen)
        elif kind == "add":
            graph.add("Neg", [edge], graph.fresh("new"))
        elif kind == "reroute":
            graph.reroute(chosen.input[0], edge)
        elif kind == "inputs":
            graph.set_inputs(chosen, [edge, "x", edge])
        assert_indexed(graph)


def test_an_heir_makes_what_the_removed_node_made() -> None:
    graph = chain(3)
    first, second, _ = graph.nodes
    graph.set_output(first, 0, second.output[0])
    graph.remove(second)
    assert graph.producer("t2") is first
    assert_indexed(graph)
    assert kinds(graph.model()) == ["Relu", "Relu"]


def test_a_bypassed_node_leaves_the_output_its_name() -> None:
    graph = chain(2)
    graph.bypass(graph.nodes[1])
    closed = graph.model()
    assert [list(entry.output) for entry in closed.graph.node] == [["y"]]


def test_a_node_that_hands_an_input_to_an_output_cannot_go() -> None:
    graph = chain(1)
    graph.bypass(graph.nodes[0])
    assert kinds(graph.model()) == ["Relu"]


def test_equal_nodes_are_told_apart() -> None:
    twins = Graph(model(node("Neg", ["x"], ["a"]), node("Add", ["a", "a"], ["y"])))
    extra = onnx.NodeProto()
    extra.CopyFrom(twins.nodes[0])
    with pytest.raises(KeyError):
        twins.remove(extra)  # equal in value, but not of this graph
    assert len(twins.nodes) == 2


@pytest.mark.parametrize(
    ("attributes", "value"),
    [
        ({"value": numpy_helper.from_array(np.array([[1, 2]], np.int8))}, np.array([[1, 2]], np.int8)),
        ({"value_float": 2.5}, np.float32(2.5)),
        ({"value_floats": [1.0, 2.0]}, np.array([1, 2], np.float32)),
        ({"value_int": 7}, np.int64(7)),
        ({"value_ints": [1, 2]}, np.array([1, 2], np.int64)),
    ],
)
def test_constant_nodes_are_constants(attributes: dict[str, object], value: np.ndarray) -> None:
    net = model(node("Constant", [], ["c"], **attributes), node("Cast", ["c"], ["y"], to=1), w=np.ones(2, np.float32))
    found = constants(net)
    assert list(found) == ["w", "c"]
    np.testing.assert_array_equal(found["c"], value)
    assert found["c"].dtype == np.asarray(value).dtype
    graph = Graph(net)
    assert [entry.op_type for entry in graph.nodes] == ["Cast"]
    assert graph.constant(graph.nodes[0], 0) is not None
    assert [tensor.name for tensor in graph.model().graph.initializer] == ["c"]  # nothing reads w


def test_strings_stay_nodes() -> None:
    graph = Graph(model(node("Constant", [], ["s"], value_string="word"), node("Relu", ["x"], ["y"])))
    assert [entry.op_type for entry in graph.nodes] == ["Constant", "Relu"]


def test_the_order_is_kept_where_data_flow_allows() -> None:
    graph = Graph(
        model(
            node("Neg", ["x"], ["a"]), node("Add", ["late", "a"], ["y"]), node("Abs", ["a"], ["b"]), outputs=("y", "b")
        )
    )
    graph.add("Relu", ["x"], "late")
    assert kinds(graph.model()) == ["Neg", "Abs", "Relu", "Add"]


def test_a_cycle_and_a_missing_input_are_one_line() -> None:
    for operands, words in ((["y"], "cycle through 'loop'"), (["nowhere"], "'loop' reads 'nowhere', which")):
        with pytest.raises(BadInputError, match=words):
            Graph(model(node("Relu", operands, ["y"], name="loop"))).model()


def test_nodes_out_of_order_are_sorted() -> None:
    found = model(node("Relu", ["a"], ["y"]), node("Neg", ["x"], ["a"]))
    sort_nodes(found)
    assert kinds(found) == ["Neg", "Relu"]


def test_an_added_output_is_declared_like_another() -> None:
    graph = chain(2)
    graph.add_output("t1", like="y")
    closed = graph.model()
    assert [value.name for value in closed.graph.output] == ["y", "t1"]
    assert closed.graph.output[1].type == closed.graph.output[0].type


def test_the_model_given_is_untouched() -> None:
    net = model(node("Relu", ["x"], ["y"]))
    before = net.SerializeToString()
    graph = Graph(net)
    graph.set_input(graph.nodes[0], 0, graph.add_constant("c", np.ones(2, np.float32)))
    graph.model()
    assert net.SerializeToString() == before


def test_attributes_and_labels() -> None:
    conv = node("Conv", ["x", "w"], ["y"], strides=[2, 2])
    assert (attribute(conv, "strides"), attribute(conv, "group", 1)) == ([2, 2], 1)
    set_attribute(conv, "strides", [1, 1])
    assert attribute(conv, "strides") == [1, 1]
    assert label(conv) == "y"
    assert label(node("Conv", [], [], name="stem")) == "stem"


@pytest.mark.perf
def test_a_pass_over_a_big_graph_is_linear() -> None:
    graph = chain(20_000)
    started = time.perf_counter()
    for entry in graph.nodes[::2]:
        graph.bypass(entry)
    for entry in graph.nodes:
        graph.add("Neg", [entry.output[0]], graph.fresh(f"{entry.output[0]}_neg"))
    graph.model()
    assert time.perf_counter() - started < 10  # about 0.5 s; scans of all nodes for every edit take minutes


def test_nodes_in_order_are_not_copied() -> None:
    found = model(node("Relu", ["x"], ["a"]), node("Tanh", ["a"], ["y"]))
    given = list(found.graph.node)
    sort_nodes(found)
    assert all(here is there for here, there in zip(found.graph.node, given, strict=True))
