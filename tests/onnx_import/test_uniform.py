"""Inputs and outputs in one form: settings baked in, float32, every batch first; the function stays the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekd.errors import BadInputError
from edgekd.onnx_import.batch_first import batch_axis, outputs_batch_first
from edgekd.onnx_import.inputs import sizes_of
from edgekd.onnx_import.samples import RandomSamples
from edgekd.onnx_import.settings import parse_settings
from edgekd.onnx_import.uniform import uniform
from edgekd.quantization.reference import Reference
from tests.onnx_import.recurrent import recurrent, scaled
from tests.quantization import onnx_models
from tests.quantization.onnx_models import random


@pytest.mark.parametrize("declared", [True, False])
def test_a_state_that_has_its_batch_second_is_taken_and_given_batch_first(declared):
    """Where the outputs declare nothing, the samples show where their batch is."""
    original = recurrent("n", layers=2)
    for value in original.graph.output:
        for dim in value.type.tensor_type.shape.dim if not declared else ():
            dim.Clear()
    plain = uniform(original, {}, {"h": (2, 1, 4)})
    assert plain.batch_axes == {"x": 0, "h": 1}
    assert plain.shapes == {"h": (1, 2, 4), "x": (1, 6)}
    assert [sizes_of(value) for value in plain.model.graph.input] == [[None, 6], [None, 2, 4]]
    assert plain.notes == ("batch first here, not where the model has it: 'h' (at 1)",)
    x, h = random(5, 6), random(2, 5, 4, seed=1)
    wanted = Reference(original).run({"x": x, "h": h})
    inputs = {"x": x, "h": h.swapaxes(0, 1).copy()}
    whole, notes = outputs_batch_first(plain.model, inputs)
    assert notes == ("batch first here, not where the model has it: 'hn' (at 1)",)
    found = Reference(whole).run(inputs)
    np.testing.assert_array_equal(found["y"], wanted["y"])
    np.testing.assert_array_equal(found["hn"].swapaxes(0, 1), wanted["hn"])


def test_a_state_of_a_built_in_batch_is_found_by_its_size():
    plain = uniform(recurrent(3, layers=2), {})
    assert plain.batch_axes == {"x": 0, "h": 1}
    assert [sizes_of(value) for value in plain.model.graph.input] == [[3, 6], [3, 2, 4]]


def test_beside_a_state_of_one_sample_the_batch_is_one():
    """A state of fixed sizes holds one sample, whatever the other inputs leave free: one step of a stream."""
    original = recurrent("n", layers=2)
    original.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 1
    plain = uniform(original, {})
    assert plain.batch_axes == {"x": 0, "h": 1}
    assert [sizes_of(value) for value in plain.model.graph.input] == [[1, 6], [1, 2, 4]]
    x, h = random(1, 6), random(2, 1, 4, seed=1)
    np.testing.assert_array_equal(
        Reference(plain.model).run({"x": x, "h": h.swapaxes(0, 1).copy()})["y"],
        Reference(original).run({"x": x, "h": h})["y"],
    )


def test_a_sequence_without_a_batch_is_one_sample_where_samples_have_a_dimension_more():
    """Frames (T, 6) and a state (4), as converters of older audio libraries write recurrent networks."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["steps"]),
        helper.make_node("Unsqueeze", ["h", "two"], ["first"]),
        helper.make_node("RNN", ["steps", "W", "R", "", "", "first"], ["rows", "last"], hidden_size=4),
        helper.make_node("Squeeze", ["rows", "middle"], ["y"]),
        helper.make_node("Squeeze", ["last", "two"], ["hn"]),
    ]
    axes = {"one": [1], "two": [0, 1], "middle": [1, 2]}
    weights = {
        "W": random(1, 4, 6),
        "R": random(1, 4, 4, seed=1),
        **{name: np.array(each) for name, each in axes.items()},
    }
    original = onnx_models.model(nodes, weights, ("T", 6), output_rank=2)
    original.graph.input.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [4]))
    original.graph.output.append(helper.make_tensor_value_info("hn", TensorProto.FLOAT, [4]))
    samples = RandomSamples(3, {"x": (1, 5, 6)})
    plain = uniform(original, {}, samples.sizes, samples.shapes)
    assert [sizes_of(value) for value in plain.model.graph.input] == [[1, 5, 6], [1, 4]]
    assert plain.notes == (
        "it takes one sample at a time: those that were given have a dimension more than its inputs",
    )
    inputs = samples.read(plain.model, 8, plain.batch_axes)
    found = Reference(plain.model).run(inputs)
    for number in range(3):
        wanted = Reference(original).run({name: array[number] for name, array in inputs.items()})
        for name, value in wanted.items():
            np.testing.assert_array_equal(found[name][number], value)


def test_a_length_that_an_input_names_is_nobodys_batch():
    """An exporter that was given one sample writes (1, length, 2) beside inputs of (batch, length)."""
    original = scaled(TensorProto.FLOAT)
    original.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "length", 2])
    assert batch_axis(original, y) == 0


def test_what_is_batch_first_stays_as_it_is():
    original = scaled(TensorProto.FLOAT)
    plain = uniform(original, {})
    assert (plain.model, plain.notes) == (original, ())
    x = random(5, 6)
    assert outputs_batch_first(plain.model, {"x": x, "by": np.ones(5, np.int64)}) == (original, ())


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


CONSTANTS = (("rate", [], 16000), ("two", [1], 2))


def branching(kind, condition):
    """x (n, 3) → x / 2 where the condition holds, else x: numbers of one float type in both branches."""
    half, one = helper.make_tensor("half", kind, [], [0.5]), helper.make_tensor("one", kind, [], [1.0])
    declared = helper.make_tensor_value_info("c", kind, [])
    branches = [
        helper.make_graph([helper.make_node("Constant", [], ["c"], value=value)], name, [], [declared])
        for name, value in (("then", half), ("else", one))
    ]
    nodes = [
        *condition,
        helper.make_node("If", ["yes"], ["h"], then_branch=branches[0], else_branch=branches[1], name="which"),
        helper.make_node("Mul", ["x", "h"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, kind, ["n", 3]) for name in ("x", "y")]
    rate = helper.make_tensor_value_info("sr", TensorProto.INT64, [])
    numbers = [
        helper.make_tensor("rate", TensorProto.INT64, [], [16000]),
        helper.make_tensor("two", TensorProto.INT64, [1], [2]),
    ]
    return helper.make_model(
        helper.make_graph(nodes, "g", [values[0], rate], values[1:], numbers),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize(("rate", "factor"), [(16000, 0.5), (8000, 1)])
def test_a_branch_on_a_setting_goes(kind, rate, factor):
    plain = uniform(branching(kind, [helper.make_node("Equal", ["sr", "rate"], ["yes"])]), {"sr": rate}).model
    assert "If" not in {node.op_type for node in plain.graph.node}
    x = random(2, 3)
    np.testing.assert_array_equal(Reference(plain).run({"x": x})["y"], x * np.float32(factor))


def test_a_branch_on_a_free_size_names_the_sizes_that_decide_it():
    batch = helper.make_node("Shape", ["x"], ["sizes"], end=1)
    model = branching(TensorProto.FLOAT, [batch, helper.make_node("Equal", ["sizes", "two"], ["yes"])])
    with pytest.raises(BadInputError) as error:
        uniform(model, {"sr": 1})
    advice = "goes one way or the other: fix all sizes, the batch too: --shape x=?,3 (numbers for ?)"
    assert advice in str(error.value)
    x = random(2, 3)
    for size, factor in ((2, 0.5), (1, 1)):
        plain = uniform(model, {"sr": 1}, {"x": (size, 3)}).model
        np.testing.assert_array_equal(Reference(plain).run({"x": x})["y"], x * np.float32(factor))


def test_sizes_of_samples_decide_a_branch_that_none_are_given_for():
    """Half where there are three columns: any batch; half for batches of two: those of one are taken, and go whole."""
    x = random(4, 3)
    for condition, factor in (({"start": 1}, 0.5), ({"end": 1}, 1)):
        size = helper.make_node("Shape", ["x"], ["sizes"], **condition)
        model = branching(TensorProto.FLOAT, [size, helper.make_node("Equal", ["sizes", "two"], ["yes"])])
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "columns"
        wide = model.graph.initializer[1]
        wide.CopyFrom(helper.make_tensor("two", TensorProto.INT64, [1], [3 if factor == 0.5 else 2]))
        plain = uniform(model, {"sr": 1}, {}, lambda _: {"x": x.shape}).model
        np.testing.assert_array_equal(Reference(plain).run({"x": x}, batch=1)["y"], x * np.float32(factor))


@pytest.mark.parametrize("seen", [None, (5, 4, 3)])
def test_an_output_that_is_an_input_is_left_out(seen):
    net = onnx_models.model([helper.make_node("Relu", ["x"], ["y"])], {}, (4, 3), output_rank=2)
    net.graph.output.append(net.graph.input[0])
    plain = uniform(net, {}, seen=(lambda _: {"x": seen}) if seen else None)
    assert plain.notes[0] == "output 'x' is left out: it is an input"
    x = random(*([1] if seen else []), 4, 3)
    (found,) = Reference(plain.model).run({"x": x}).values()
    np.testing.assert_array_equal(found, np.maximum(x, 0))


@pytest.mark.parametrize("called", ["n", "?", "None"])
def test_a_size_is_that_of_all_dimensions_that_are_called_alike(called):
    """The state's batch, whose name goes where a branch wants all sizes; unless it only says that it is unknown."""
    size = helper.make_node("Shape", ["x"], ["sizes"], end=1)
    net = branching(TensorProto.FLOAT, [size, helper.make_node("Equal", ["sizes", "two"], ["yes"])])
    net.graph.node.append(helper.make_node("Neg", ["state"], ["next"]))
    net.graph.input.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, [3, called, 4]))
    net.graph.output.append(helper.make_tensor_value_info("next", TensorProto.FLOAT, [3, called, 4]))
    net.graph.input[0].type.tensor_type.shape.dim[0].dim_param = called
    plain = uniform(net, {"sr": 1}, {"x": (2, 3)})
    told = called == "n"
    assert plain.batch_axes == {"x": 0, "state": 1 if told else 0}
    assert sizes_of(plain.model.graph.input[-1]) == ([2, 3, 4] if told else [3, None, 4])
    assert plain.shapes == {"x": (2, 3)} | ({"state": (2, 3, 4)} if told else {})


def test_a_size_behind_the_batch_is_given_once():
    net = onnx_models.model([helper.make_node("Add", ["x", "z"], ["y"])], {}, ("N", "T"), output_rank=2)
    net.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", "T"]))
    plain = uniform(net, {}, {"x": (1, 5)})
    assert [sizes_of(value) for value in plain.model.graph.input] == [[None, None], [None, 5]]
    noise = RandomSamples(2, {"x": (1, 5)}).read(plain.model, 8, plain.batch_axes)
    assert {name: array.shape for name, array in noise.items()} == {"x": (2, 5), "z": (2, 5)}


@pytest.mark.parametrize(
    ("batch", "state", "spelled"), [(1, [2, None, 4], "h=2,?,4"), ("N", [2, "N", None], "h=2,1,?")]
)
def test_sizes_are_asked_for_as_the_file_has_them(batch, state, spelled):
    net = onnx_models.model([helper.make_node("Neg", ["h"], ["y"])], {}, (batch, 3), output_rank=3)
    net.graph.input.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, state))
    plain = uniform(net, {})
    with pytest.raises(BadInputError) as error:
        RandomSamples(2, {}).read(plain.model, 8, plain.batch_axes)
    assert str(error.value) == f"--random needs sizes: --shape {spelled} (numbers for ?)"
