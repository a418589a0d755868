"""The runner's own reading of ONNX files, against the onnx package."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from edgekd.backends.onnxruntime.runtime import onnx_operators
from tests import factories


@given(st.lists(st.text("abcXYZé", min_size=1, max_size=300), max_size=20), st.binary(max_size=400))
def test_operators_are_read_in_order(kinds: list[str], payload: bytes) -> None:
    nodes = [helper.make_node(kind, ["x"], [f"y{i}"], doc_string="d", blob=payload) for i, kind in enumerate(kinds)]
    weights = helper.make_tensor("w", 2, [len(payload)], payload, raw=True)
    model = helper.make_model(helper.make_graph(nodes, "g", [], [], [weights]))
    assert list(onnx_operators(model.SerializeToString())) == kinds


@pytest.mark.parametrize("name", factories.WHOLE_NETS)
def test_operators_of_whole_nets(name: str) -> None:
    model = factories.quantize(*factories.WHOLE_NETS[name](0))
    expected = [node.op_type for node in model.graph.node]
    assert list(onnx_operators(model.SerializeToString())) == expected
