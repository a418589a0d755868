import numpy as np
import pytest
from onnx import helper

from edgekd.errors import BadInputError
from edgekd.quantization import reference
from edgekd.quantization.qdq import insert_activations
from edgekd.quantization.ranges import Affine
from edgekd.quantization.reference import LARGE, MOST_BYTES, Reference, few, joined, large
from edgekd.quantization.scheme import find_scheme
from tests.quantization.onnx_models import model, random

X = random(7, 3, 6, 6)
SCHEME = find_scheme("int8-asymmetric")


@pytest.fixture
def quantized() -> object:
    plain = model([helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Relu", ["n"], ["y"])], {})
    return insert_activations(plain, {"x": Affine(0.5, 128), "y": Affine(0.25, 0)}, SCHEME)


def test_a_qdq_model_is_computed_as_written(quantized) -> None:
    outputs = Reference(quantized).run({"x": X})
    stored = np.clip(np.rint(X / np.float32(0.5)) + 128, 0, 255)
    relu = np.maximum(-(stored - 128) * 0.5, 0)
    expected = np.clip(np.rint(relu / 0.25), 0, 255) * 0.25
    np.testing.assert_array_equal(outputs["y"], expected.astype(np.float32))  # powers of two: exact


def test_chunks_give_what_the_whole_gives(quantized) -> None:
    reference = Reference(quantized)
    np.testing.assert_array_equal(reference.run({"x": X}, batch=3)["y"], reference.run({"x": X})["y"])


def test_inner_tensors_can_be_asked_for(quantized) -> None:
    outputs = Reference(quantized, tensors=["n", "x_quantized"]).run({"x": X}, batch=2)
    assert set(outputs) == {"y", "n", "x_quantized"}
    assert outputs["x_quantized"].dtype == np.uint8
    assert outputs["n"].shape == X.shape


def test_inputs_that_do_not_fit_are_one_line(quantized) -> None:
    with pytest.raises(BadInputError, match="cannot run on these inputs") as caught:
        Reference(quantized).run({"x": X[:, :2]})
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInputError, match="the model takes x; got nothing"):
        Reference(quantized).run({})


def test_inputs_in_chunks_need_equally_many_samples() -> None:
    both = model([helper.make_node("Add", ["x", "x"], ["y"])], {})
    both.graph.node[0].input[1] = "other"
    both.graph.input.add().CopyFrom(both.graph.input[0])
    both.graph.input[1].name = "other"
    with pytest.raises(BadInputError, match="differ in their number of samples"):
        Reference(both).run({"x": X, "other": X[:1]}, batch=2)
    assert Reference(both).run({"x": X, "other": X[:1]})["y"].shape == X.shape  # broadcast, as the file says


def test_a_scalar_is_for_every_sample_of_a_batch_that_is_built_in() -> None:
    both = model([helper.make_node("Mul", ["x", "factor"], ["y"])], {})
    both.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    both.graph.input.append(helper.make_tensor_value_info("factor", 1, []))
    found = Reference(both).run({"x": X[:3], "factor": np.array(3, np.float32)})["y"]
    np.testing.assert_array_equal(found, X[:3] * np.float32(3))


def test_a_batch_is_no_larger_than_memory_may_be_taken_for() -> None:
    """64 samples of 1 MB, and three tensors as large alive: 256 MB hold them in parts; the values are the same."""
    net = model(
        [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])],
        {},
        ("N", 4, 256, 256),
        output_rank=4,
    )
    x = np.random.default_rng(0).normal(size=(64, 4, 256, 256)).astype(np.float32)
    sizes = [len(made["a"]) for _, made in Reference(net, ["a"]).parts({"x": x}, 64)]
    assert sum(sizes) == 64
    assert max(sizes) * (3 + 2) <= 256
    np.testing.assert_array_equal(Reference(net).run({"x": x}, batch=64)["y"], np.maximum(x, 0))


def test_small_samples_may_make_large_tensors() -> None:
    """64 samples of 32 bytes become 64 MB of outputs; memory may be taken for a third of them at once."""
    net = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": random(8, 1 << 18)}, ("N", 8), output_rank=2)
    reference, x = Reference(net), {"x": random(64, 8)}
    assert reference.at_once(x, 64) <= 64 // 3
    assert reference.at_once({"x": x["x"][:2]}, 64) == 2


def test_a_model_whose_declared_shapes_contradict_each_other_runs_all_the_same() -> None:
    net = model([helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Relu", ["a"], ["y"])], {})
    net.graph.value_info.append(helper.make_tensor_value_info("a", 1, ["N", 5, 6, 6]))
    np.testing.assert_array_equal(Reference(net).run({"x": X}, 4)["y"], np.maximum(X, 0))


def test_of_large_samples_two_do() -> None:
    small, image = np.zeros((9, 3), np.float32), np.zeros((3, 3, 640, 640), np.float32)
    assert len(few({"x": small}, 8)["x"]) == 8
    assert len(few({"x": image}, 8)["x"]) == 2
    assert len(few({"x": image, "size": small[:3]}, 8)["size"]) == 2, "as many of every input"
    assert len(few({"x": image[:1]}, 8)["x"]) == 1


@pytest.mark.parametrize("fused", [False, True])
def test_onnx_runtime_is_asked_for_one_thread_and_to_keep_no_memory(quantized, fused) -> None:
    """Quantisers stay what they are, fused or not; an arena would keep what the largest run took."""
    options = reference._options(fused)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert (options.enable_cpu_mem_arena, options.log_severity_level) == (False, 4)
    assert options.get_session_config_entry("session.disable_quant_qdq") == "1"
    np.testing.assert_array_equal(
        Reference(quantized, fused=fused).run({"x": X})["y"], Reference(quantized).run({"x": X})["y"]
    )


def test_samples_are_large_from_four_mebibytes_all_inputs_together() -> None:
    whole, half = (np.zeros((3, LARGE // size), np.uint8) for size in (1, 2))
    assert large({"x": whole})
    assert large({"x": half, "y": half})
    assert not large({"x": half, "y": half[:, 1:]})
    assert [len(few({"x": whole}, count)["x"]) for count in (1, 2, 3)] == [1, 2, 2]


def test_parts_are_joined_sample_by_sample() -> None:
    one, two = {"y": np.arange(3), "s": np.float32(1)}, {"y": np.arange(2), "s": np.float32(2)}
    assert joined([one]) is one
    found = joined([one, two])
    assert (found["y"].tolist(), found["s"].tolist()) == ([0, 1, 2, 0, 1], [1, 2])


def test_as_many_samples_go_at_once_as_memory_may_be_taken_for() -> None:
    """Three tensors alive and one output of `wide` floats a sample; where one sample takes more, one at a time."""
    for wide, most in ((1 << 16, MOST_BYTES >> 20), (MOST_BYTES, 1)):
        net = model([helper.make_node("Relu", ["x"], ["y"])], {}, ("N", wide), output_rank=2)
        asked, x = Reference(net), {"x": np.zeros((100, 1), np.float32)}
        assert {batch: asked.at_once(x, batch) for batch in (1, 2, 64, 200)} == {
            1: 1, 2: min(2, most), 64: min(64, most), 200: min(100, most),
        }  # fmt: skip


def test_a_batch_that_is_built_in_is_filled_and_cut_again() -> None:
    net = model(
        [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["y"])], {}, (4, 3), output_rank=2
    )
    asked, x = Reference(net, ["a"]), random(9, 3)
    parts = [(len(given["x"]), len(made["y"]), len(made["a"])) for given, made in asked.parts({"x": x}, 64)]
    assert asked.at_once({"x": x}, 2) == 4
    assert parts == [(4, 4, 4), (4, 4, 4), (1, 1, 1)]
    np.testing.assert_array_equal(asked.run({"x": x})["y"], -np.maximum(x, 0))


def test_what_onnx_runtime_says_last_is_told() -> None:
    told = "first\n Got: 3 Expected: 2\n Please fix either the inputs/outputs or the model."
    assert reference._last_line(RuntimeError(told)) == "first Got: 3 Expected: 2"
    assert reference._last_line(RuntimeError("first\n last \n")) == "last"
