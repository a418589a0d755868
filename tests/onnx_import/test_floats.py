"""Float models of any exporter: the same numbers, with known shapes and a free batch, or a reason why not."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, version_converter

from edgekd.errors import BadInputError, UnfitInputsError
from edgekd.onnx_import import batch_first
from edgekd.onnx_import.batch_first import outputs_batch_first, rows_by_sample
from edgekd.onnx_import.floats import import_float
from edgekd.onnx_import.inputs import parse_shapes, sizes_of
from edgekd.onnx_import.read import read_model
from edgekd.onnx_import.same import require_same
from edgekd.onnx_import.shapes import fix_shapes
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import SCHEMES
from tests.factories import Net
from tests.quantization.onnx_models import kinds, model, random

node = helper.make_node
SAMPLES = 12


def net(opset: int = 18) -> onnx.ModelProto:
    """Convolution, ReLU6, squeeze, clip, resize-free: operators whose form changed between opset 7 and 18."""
    made = model(
        [
            node("Constant", [], ["w"], value=numpy_helper.from_array(random(4, 3, 3, 3), "w")),
            node("Identity", ["w"], ["w1"]),
            node("Identity", ["w1"], ["w2"]),
            node("Conv", ["x", "w2"], ["c"], name="stem", pads=[1, 1, 1, 1]),
            node("Clip", ["c", "zero", "six"], ["r"]) if opset > 10 else node("Clip", ["c"], ["r"], min=0.0, max=6.0),
            node("Identity", ["r"], ["i"]),
            node("Identity", ["i"], ["j"]),
            node("GlobalAveragePool", ["j"], ["p"]),
            *_squeezed(opset),
            node("Gemm", ["s", "head", "bias"], ["y"], transB=1),
        ],
        {"zero": np.float32(0), "six": np.float32(6), "head": random(5, 4, seed=1), "bias": random(5, seed=2)},
        opset=opset,
        output_rank=2,
    )
    onnx.checker.check_model(made)
    return made


def _squeezed(opset: int) -> list[onnx.NodeProto]:
    if opset < 13:
        return [node("Squeeze", ["p"], ["s"], axes=[2, 3])]
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    return [node("Constant", [], ["axes"], value=axes), node("Squeeze", ["p", "axes"], ["s"])]


def declare(made: onnx.ModelProto, *sizes: int | str) -> onnx.ModelProto:
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes))
    return made


def feeds(*shape: int) -> dict[str, np.ndarray]:
    return {"x": random(SAMPLES, *shape, seed=3)}


def assert_same(original: onnx.ModelProto, imported: onnx.ModelProto, inputs, batch: int) -> None:
    """Folding and reordering of float32 sums: 1e-5 of values around 1."""
    wanted = Reference(original).run(inputs, batch=batch)
    for size in (1, 5, SAMPLES):
        found = Reference(imported).run(inputs, batch=size)
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("slim", [True, False])
@pytest.mark.parametrize("opset", [7, 9, 10, 11, 12, 13, 15, 17, 18, 21, 24])
def test_every_opset_gives_the_same_numbers(opset, slim):
    original, inputs = net(opset), feeds(3, 6, 6)
    before = original.SerializeToString()
    imported = import_float(original, inputs, {}, slim=slim)
    assert original.SerializeToString() == before
    assert imported.opset_import[0].version >= 18
    assert_same(original, imported, inputs, SAMPLES)
    quantised = kinds(calibrate(imported, SCHEMES["int8-asymmetric"], [inputs]))
    assert not {"Identity", "Constant"} & set(quantised)
    assert quantised.count("QuantizeLinear") == 5  # input, activation, pool, squeeze, output


@pytest.mark.parametrize("sizes", [("N", 3, "h", "w"), (-1, 3, -1, -1), ("?", 3, "?", "?"), ("N", "c", "h", "w")])
def test_free_dimensions_are_those_of_the_data(sizes):
    original, inputs = declare(net(), *sizes), feeds(3, 8, 10)
    imported = import_float(original, inputs, {})
    assert sizes_of(imported.graph.input[0]) == [None, 3, 8, 10]
    assert_same(declare(net(), "N", 3, "h", "w"), imported, inputs, SAMPLES)


def test_a_given_shape_has_to_be_that_of_the_model_and_the_data():
    original = declare(net(), "N", 3, "h", "w")
    assert import_float(original, feeds(3, 8, 8), parse_shapes(["x=1,3,8,8"]))
    with pytest.raises(BadInputError, match="cannot run on these inputs|does not run"):
        import_float(original, feeds(3, 8, 8), parse_shapes(["x=1,3,9,9"]))
    with pytest.raises(BadInputError, match=r"does not fit"):
        import_float(original, feeds(3, 8, 8), parse_shapes(["x=1,4,8,8"]))
    with pytest.raises(BadInputError, match=r"--shape names 'z'; the inputs are: x"):
        import_float(original, feeds(3, 8, 8), parse_shapes(["z=1,4,8,8"]))


@pytest.mark.parametrize("text", ["x", "x=", "=1", "x=0,3", "x=a", "x=1,", "x=-1,3"])
def test_a_shape_that_is_none(text):
    with pytest.raises(BadInputError, match=r"expected an input's name and its sizes, as in input=1,3,224,224"):
        parse_shapes([text])


def encoder(batch: int) -> onnx.ModelProto:
    """Attention-like reshapes with a batch of `batch` written into their targets; the last merges batch and heads."""
    net = Net(0, (6, 8))
    x = net.op("MatMul", "input", net.constant(net.rng.normal(0, 0.3, (8, 8))))
    heads = net.op("Reshape", x, net.constant([batch, 6, 2, 4], np.int64))
    heads = net.op("Transpose", heads, perm=[0, 2, 1, 3])
    merged = net.op("Reshape", heads, net.constant([batch * 2, 6, 4], np.int64))
    scores = net.op("MatMul", merged, net.op("Transpose", merged, perm=[0, 2, 1]))
    mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), merged)
    mixed = net.op("Reshape", mixed, net.constant([batch, 2, 6, 4], np.int64))
    first = net.op("Transpose", mixed, perm=[2, 0, 1, 3])  # tokens first, as torch's own attention has them
    rows = net.op("Reshape", first, net.constant([6 * batch, 8], np.int64))
    rows = net.op("MatMul", rows, net.constant(net.rng.normal(0, 0.3, (8, 8))))
    tokens = net.op("Reshape", rows, net.constant([6, batch, 8], np.int64))
    made = net.model(net.op("Transpose", tokens, perm=[1, 0, 2]))
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return made


@pytest.mark.parametrize(("batch", "slim"), [(1, False), (2, False), (2, True), (4, True)])
def test_a_batch_that_is_built_in_is_freed(batch, slim):
    original = encoder(batch)
    inputs = {"input": random(SAMPLES, 6, 8, seed=5)}
    imported = import_float(original, {"input": inputs["input"][:-1]}, {}, slim=slim)  # the last batch is not whole
    assert sizes_of(imported.graph.input[0]) == [None, 6, 8]
    assert_same(original, imported, inputs, batch)


def test_a_batch_of_one_that_simplifying_hides_is_freed():
    original, inputs = encoder(1), {"input": random(SAMPLES, 6, 8, seed=5)}
    imported = import_float(original, inputs, {})
    assert sizes_of(imported.graph.input[0]) == [None, 6, 8]
    assert_same(original, imported, inputs, 1)


def test_a_batch_whose_samples_have_constants_of_their_own_stays():
    """It runs for its own number of samples alone, and as if it were free."""
    made = model([node("Mul", ["x", "targets"], ["y"])], {"targets": random(3, 6)}, (3, 6), output_rank=2)
    assert sizes_of(import_float(made, feeds(6), {}).graph.input[0]) == [3, 6]


def test_a_batch_that_cannot_be_freed_stays():
    made = declare(net(), 1, 3, 6, 6)
    made.graph.node.extend([node("Concat", ["y", "row"], ["z"], axis=1)])  # a constant of one row for one sample
    made.graph.initializer.append(numpy_helper.from_array(random(1, 2), "row"))
    made.graph.output[0].name = "z"
    imported, inputs = import_float(made, feeds(3, 6, 6), {}), feeds(3, 6, 6)
    assert sizes_of(imported.graph.input[0]) == [1, 3, 6, 6]
    assert_same(made, imported, inputs, 1)
    quantised = Reference(calibrate(imported, SCHEMES["int8-asymmetric"], [inputs])).run(inputs, batch=5)
    assert quantised["z"].shape == (SAMPLES, 7)


@pytest.mark.parametrize("undeclared", [True, False])
def test_a_batch_that_is_free_in_name_only_is_one(undeclared):
    """Inputs say any batch, a Reshape inside says one: exporters that were given one sample write that."""
    made = net()
    made.graph.node.extend([node("Reshape", ["y", "one_row"], ["z"])])
    made.graph.initializer.append(numpy_helper.from_array(np.array([1, 5]), "one_row"))
    made.graph.output[0].name = "z"
    if undeclared:
        made.graph.output[0].type.tensor_type.ClearField("shape")
    inputs = feeds(3, 6, 6)
    plain, notes = outputs_batch_first(made, inputs)
    imported = import_float(plain, inputs, {})
    assert not notes
    assert_same(made, imported, inputs, 1)


def test_an_output_without_any_dimension_gets_one_for_the_samples():
    made = net()
    made.graph.node.extend([node("ReduceMean", ["y"], ["z"], keepdims=0)])
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, []))
    inputs = feeds(3, 6, 6)
    imported = import_float(made, inputs, {})
    one_by_one = [Reference(made).run({"x": x[None]})["z"] for x in inputs["x"]]
    np.testing.assert_allclose(Reference(imported).run(inputs)["z"], one_by_one, rtol=1e-5)  # sums in another order


def test_random_numbers_may_not_reach_an_output():
    made, inputs = net(), feeds(3, 6, 6)
    made.graph.node.extend([node("RandomNormalLike", ["y"], ["noise"]), node("Mul", ["noise", "scale"], ["m"])])
    made.graph.node.extend([node("Add", ["y", "m"], ["z"])])
    made.graph.initializer.append(numpy_helper.from_array(np.float32(0), "scale"))
    made.graph.output[0].name = "z"
    assert_same(made, import_float(made, inputs, {}), inputs, 1)
    made.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.float32(1), "scale"))
    with pytest.raises(BadInputError, match="RandomNormalLike 'noise' draws random numbers"):
        import_float(made, inputs, {})


def test_a_built_in_batch_needs_as_many_samples():
    with pytest.raises(BadInputError, match=r"the model's batch of 16 is built in"):
        import_float(declare(net(), 16, 3, 6, 6), feeds(3, 6, 6), {})


def test_inputs_without_a_common_batch_are_refused():
    made = net()
    made.graph.node.extend([node("Add", ["y", "state"], ["z"])])
    made.graph.input.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 5]))
    made.graph.output[0].name = "z"
    with pytest.raises(BadInputError, match="the inputs differ in their first dimension"):
        import_float(made, {**feeds(3, 6, 6), "state": random(2, 5)}, {})


def test_sizes_that_do_not_fit_are_told_apart_from_a_broken_file():
    made = model([node("MatMul", ["x", "w"], ["y"])], {"w": random(5, 2)}, ("N", "T", "C"), output_rank=3)
    with pytest.raises(UnfitInputsError, match=r"contradict each other for these sizes of inputs: x \('any', 3, 4\)"):
        fix_shapes(made, {"x": (1, 3, 4)})


def test_another_function_is_not_taken_for_the_same():
    """What a wrong simplification would look like."""
    other = net()
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.float32(0.5), "zero"))
    require_same(net(), net(), feeds(3, 6, 6), 4, "advice")
    with pytest.raises(BadInputError, match=r"output 'y' of the imported model is .* steps off the original: advice"):
        require_same(net(), other, feeds(3, 6, 6), 4, "advice")


def test_outputs_that_are_not_finite_prove_nothing():
    inputs = {"x": np.full((SAMPLES, 3, 6, 6), 3e38, np.float32)}
    made = model([node("Mul", ["x", "x"], ["a"]), node("Sub", ["a", "a"], ["y"])], {})
    with pytest.raises(BadInputError, match="output 'y' is not finite on these inputs: nothing"):
        require_same(made, made, inputs, SAMPLES, "advice")


@pytest.mark.parametrize("count", [4, 7])  # samples: one batch and a part, and two
def test_a_built_in_batch_whose_samples_meet_stays(count):
    """Each text against each image: for twice as many samples, answers twice as wide."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("Transpose", ["a"], ["t"], perm=[1, 0]),
        node("MatMul", ["a", "t"], ["y"]),
    ]
    made = model(nodes, {"w": random(5, 4)}, (3, 5), output_rank=2)
    plain = import_float(made, {"x": random(count, 5)}, {})
    assert [sizes_of(value) for value in (*plain.graph.input, *plain.graph.output)] == [[3, 5], [3, 3]]


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("last", [[], ["Transpose"]])
def test_outputs_whose_size_depends_on_values_are_refused_by_name(last, sparse):
    """Of some samples as many elements as of the next one, by chance, or of no two."""
    x = np.ones((SAMPLES, 4), np.float32)
    x[3 if sparse else slice(1, None, 2), 2:] = -1
    nodes = [node("Relu", ["x"], ["r"]), node("NonZero", ["r"], ["a"])]
    nodes.append(node(*(last or ["Identity"]), ["a"], ["y"]))
    made = model(nodes, {}, ("N", 4), output_rank=2)
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(BadInputError, match=r"'y' has shape .* for some samples and .* for others: export the network"):
        import_float(made, {"x": x}, {})


@pytest.mark.parametrize(("opset", "dynamo"), [(11, False), (17, False), (18, True)])
@pytest.mark.parametrize("free", [True, False])
def test_torch_exporters(tmp_path, opset, dynamo, free):
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU6())
            self.head = nn.Linear(4 * 9, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x) * 2
            return self.head(x.view(x.size(0), -1)).softmax(-1)

    path, example = tmp_path / "m.onnx", torch.zeros(2 if free else 1, 3, 6, 6)
    options = {"dynamic_shapes": ({0: torch.export.Dim("batch")},) if free else None, "external_data": True}
    if not dynamo:
        options = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}} if free else None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Tiny().eval(), (example,), path, dynamo=dynamo, opset_version=opset, verbose=False, **options)
    original = read_model(path)
    inputs = {original.graph.input[0].name: random(SAMPLES, 3, 6, 6)}
    imported = import_float(original, inputs, {})
    assert_same(original, imported, inputs, SAMPLES if free else 1)
    assert kinds(calibrate(imported, SCHEMES["int8-asymmetric"], [inputs])).count("QuantizeLinear") >= 4


def test_the_version_converter_is_held_against_the_original():
    """Opset 11 → 18 by onnx itself, seen apart from ours: the operators above do convert."""
    converted = version_converter.convert_version(net(11), 18)
    inputs = feeds(3, 6, 6)
    assert_same(net(11), converted, inputs, SAMPLES)


def test_samples_that_depend_on_one_another_go_one_by_one() -> None:
    """Scaled by the largest value of the whole batch, as spectrograms are."""
    nodes = [node("ReduceMax", ["x"], ["most"], keepdims=0), node("Div", ["x", "most"], ["y"])]
    given = feeds(3, 6, 6)
    plain = import_float(model(nodes, {}), given, {})
    assert sizes_of(plain.graph.input[0])[0] == 1
    wanted = given["x"] / given["x"].max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(Reference(plain).run(given)["y"], wanted, rtol=1e-6)


def test_rows_that_inference_counts_need_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_first, "Reference", None)
    given = net()
    assert rows_by_sample(given, {"x": random(7, 3, 8, 8)}) is given


@pytest.mark.parametrize("batch", ["N", 1])
def test_rows_of_all_samples_one_after_the_other_get_a_dimension_for_the_samples(batch: int | str) -> None:
    """As of texts whose characters are classified one by one."""
    nodes = [node("Relu", ["x"], ["r"]), node("Reshape", ["r", "all"], ["y"])]
    net = model(nodes, {"all": np.array([-1])}, (batch, 3, 2), output_rank=1)
    given = feeds(3, 2)
    plain = import_float(net, given, {})
    assert sizes_of(plain.graph.output[0])[1:] == [6]
    np.testing.assert_array_equal(Reference(plain).run(given)["y"], np.maximum(given["x"], 0).reshape(SAMPLES, 6))


def test_an_output_without_a_row_for_each_sample_is_refused() -> None:
    """Three numbers for a batch of four."""
    nodes = [node("ReduceMax", ["x", "axes"], ["y"], keepdims=0)]
    net = model(nodes, {"axes": np.array([0, 2, 3])}, (4, 3, 6, 6), output_rank=1)
    with pytest.raises(BadInputError, match="needs one row for each"):
        import_float(net, feeds(3, 6, 6), {})
