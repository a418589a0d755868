"""Inputs and outputs in one form: settings baked in, float32, every batch first; the function stays the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.errors import BadInputError
from edgekd.onnx_import.inputs import sizes_of
from edgekd.onnx_import.settings import parse_settings
from edgekd.onnx_import.uniform import uniform
from edgekd.quantization.reference import Reference
from tests.onnx_import.recurrent import recurrent, scaled
from tests.quantization.onnx_models import random


def test_a_state_that_has_its_batch_second_is_taken_and_given_batch_first():
    original = recurrent("n", layers=2)
    plain = uniform(original, {})
    assert plain.batch_axes == {"x": 0, "h": 1}
    assert [sizes_of(value) for value in plain.model.graph.input] == [[None, 6], [None, 2, 4]]
    assert [sizes_of(value) for value in plain.model.graph.output] == [[None, 3], [None, 2, 4]]
    assert plain.notes == ("batch first here, not where the model has it: 'h' (at 1), 'hn' (at 1)",)
    x, h = random(5, 6), random(2, 5, 4, seed=1)
    wanted = Reference(original).run({"x": x, "h": h})
    found = Reference(plain.model).run({"x": x, "h": h.swapaxes(0, 1).copy()})
    np.testing.assert_array_equal(found["y"], wanted["y"])
    np.testing.assert_array_equal(found["hn"].swapaxes(0, 1), wanted["hn"])


def test_a_state_of_a_built_in_batch_is_found_by_its_size():
    plain = uniform(recurrent(3, layers=2), {})
    assert plain.batch_axes == {"x": 0, "h": 1}
    assert [sizes_of(value) for value in plain.model.graph.input] == [[3, 6], [3, 2, 4]]


def test_what_is_batch_first_stays_as_it_is():
    original = scaled(TensorProto.FLOAT)
    plain = uniform(original, {})
    assert (plain.model, plain.notes) == (original, ())


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_floats_become_float32(kind):
    plain = uniform(scaled(kind), {}).model
    onnx.checker.check_model(plain, full_check=True)
    assert {value.type.tensor_type.elem_type for value in (plain.graph.input[0], *plain.graph.output)} == {1}
    x = random(5, 6)
    wanted = Reference(scaled(TensorProto.FLOAT)).run({"x": x, "by": np.full(5, 2, np.int64)})["y"]
    found = Reference(plain).run({"x": x, "by": np.full(5, 2, np.int64)})["y"]
    np.testing.assert_allclose(found, wanted, atol=5e-3)  # weights around 1 were rounded to 11 bits


def test_a_setting_becomes_a_constant_of_its_inputs_type():
    original = scaled(TensorProto.FLOAT)
    plain = uniform(original, parse_settings(["by=2"])).model
    assert [value.name for value in plain.graph.input] == ["x"]
    x = random(5, 6)
    wanted = Reference(original).run({"x": x, "by": np.full(5, 2, np.int64)})["y"]
    np.testing.assert_array_equal(Reference(plain).run({"x": x})["y"], wanted)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["by"], "--set 'by': expected an input's name and a number, as in sr=16000"),
        (["by=fast"], "--set 'by=fast': expected an input's name and a number"),
        (["by=nan"], "--set 'by=nan': expected an input's name and a number"),
        (["bye=1"], "--set names 'bye', which is no input; did you mean 'by'?"),
        (["by=1.5"], "--set by=1.5: its type is int64"),
        (["by=1", "x=0"], "--set leaves the model no input"),
    ],
)
def test_settings_that_do_not_fit(texts, words):
    with pytest.raises(BadInputError) as error:
        uniform(scaled(TensorProto.FLOAT), parse_settings(texts))
    assert words in str(error.value)


def test_the_file_stays_as_it_is():
    for model in (recurrent("n", layers=2), scaled(TensorProto.FLOAT16)):
        before = model.SerializeToString()
        uniform(model, {})
        assert model.SerializeToString() == before


def test_inner_graphs_become_float32_too():
    half = helper.make_tensor("half", TensorProto.FLOAT16, [], [0.5])
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=half)], "b", [], [helper.make_tensor_value_info("c", 10, [])]
    )
    nodes = [helper.make_node("If", ["yes"], ["h"], then_branch=branch, else_branch=branch)]
    nodes += [helper.make_node("Mul", ["x", "h"], ["y"])]
    values = [helper.make_tensor_value_info(name, 10, ["n", 3]) for name in ("x", "y")]
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    model = helper.make_model(
        helper.make_graph(nodes, "g", values[:1], values[1:], [yes]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    x = random(2, 3)
    np.testing.assert_array_equal(Reference(uniform(model, {}).model).run({"x": x})["y"], x / 2)
