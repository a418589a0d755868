"""Each layer alone: depth does not hide a fault, and does not make one."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.backends import layers as proving
from edgekd.backends.layers import GIVEN, WATCHED, cut_at, expose_activations, prove_layers
from edgekd.backends.reference import Reference
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.qdq import insert_activations
from edgekd.quantization.ranges import Affine
from edgekd.quantization.scheme import find_scheme
from edgekd.target import load_target
from tests import factories
from tests.backends.faults import BACKENDS, Case, drop_bias, layers, predict, scale_weights
from tests.quantization.onnx_models import model, random


@pytest.fixture(scope="module")
def resnet() -> Case:
    return Case(factories.resnet)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layer_at_fault_is_named(backend: str, resnet: Case) -> None:
    """Not those behind it, whose outputs are off too: they do right by what they are given."""
    broken = resnet.mutated(lambda model: drop_bias(model, 3))
    conv = layers(broken, "Conv")[3]
    (relu,) = (node for node in broken.graph.node if conv.output[0] in node.input)
    found = prove_layers(resnet.int8, load_target(f"x86-{backend}"), resnet.inputs, predict, broken)
    assert found is not None
    assert found.fault is not None
    assert (found.fault.tensor, found.fault.node) == (relu.output[0], f"Relu {relu.name}")
    assert str(found.fault).startswith(f"{relu.output[0]}, made by Relu {relu.name}, is off by ")


@pytest.mark.parametrize("backend", BACKENDS)
def test_weight_scales_off_by_2_percent_are_seen_in_the_layer_itself(backend: str, resnet: Case) -> None:
    broken = resnet.mutated(lambda model: scale_weights(model, "Conv", 0, 1.02))
    found = prove_layers(resnet.int8, load_target(f"x86-{backend}"), resnet.inputs, predict, broken)
    assert found is not None
    assert found.fault is not None
    assert found.fault.tensor == next(iter(expose_activations(resnet.int8)[1]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_layer_of_a_faithful_bundle_is_within_one_step(backend: str, resnet: Case) -> None:
    """One step: what lies between two integers may round to either."""
    found = prove_layers(resnet.int8, load_target(f"x86-{backend}"), resnet.inputs, predict)
    assert found is not None
    assert found.fault is None
    assert found.tensors == len(expose_activations(resnet.int8)[1])
    assert found.worst.max <= 1 + 1e-3
    assert found.exact > 0.99


def test_a_few_samples_at_a_time_show_what_all_together_do(resnet: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("x86-onnxruntime")
    broken = resnet.mutated(lambda model: scale_weights(model, "Conv", 2, 1.02))
    whole = prove_layers(resnet.int8, target, resnet.inputs, predict, broken)
    monkeypatch.setattr(proving, "MOST_AT_ONCE", 12 * proving._bytes_per_sample(expose_activations(resnet.int8)[0]))
    parts = prove_layers(resnet.int8, target, resnet.inputs, predict, broken)
    assert whole is not None
    assert parts is not None
    assert whole.fault is not None
    assert parts.exact == pytest.approx(whole.exact, rel=1e-12)  # shares are added in another order
    assert parts.model_copy(update={"exact": whole.exact}) == whole


def test_what_is_no_number_is_a_fault(resnet: Case) -> None:
    """NaN is neither near nor far, and would pass a comparison."""
    spoiled = next(iter(expose_activations(resnet.int8)[1]))

    def spoiling(bundle: Path, arrays: dict[str, Any], batch: int) -> dict[str, Any]:
        answers = predict(bundle, arrays, batch)
        if spoiled + WATCHED in answers:
            answers[spoiled + WATCHED] = answers[spoiled + WATCHED] * np.float32("nan")
        return answers

    found = prove_layers(resnet.int8, load_target("x86-onnxruntime"), resnet.inputs, spoiling)
    assert found is not None
    assert found.fault is not None
    assert found.fault.tensor == spoiled


def test_a_severed_graph_starts_anew_at_every_tensor(resnet: Case) -> None:
    """Given its own tensors it says the same, bit for bit; given others, each layer follows what it was given."""
    shown, makers = expose_activations(resnet.int8)
    cut, inputs = cut_at(shown, makers), {"input": resnet.inputs["input"][:4]}
    truth = Reference(shown).run(inputs)
    given = {tensor + GIVEN: truth[tensor + WATCHED] for tensor in makers}
    wanted = {value.name for value in cut.graph.input}
    again = Reference(cut).run({name: array for name, array in (inputs | given).items() if name in wanted})
    assert all(np.array_equal(again[name], truth[name]) for name in truth)
    first, second = list(makers)[:2]
    given[first + GIVEN] = given[first + GIVEN] * 0
    other = Reference(cut).run({name: array for name, array in (inputs | given).items() if name in wanted})
    assert np.array_equal(other[first + WATCHED], truth[first + WATCHED])
    assert not np.array_equal(other[second + WATCHED], truth[second + WATCHED])


def test_tensors_whose_batch_is_not_first_are_not_watched() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        onnx.helper.make_node("MatMul", ["input", "w"], ["kept"]),
        onnx.helper.make_node("Transpose", ["kept"], ["turned"], perm=[1, 0, 2]),
        onnx.helper.make_node("MatMul", ["turned", "v"], ["logits"]),
    ]
    weights = {name: rng.normal(size=(6, 6)).astype(np.float32) for name in "wv"}
    net = factories.build_model(nodes, weights, (4, 6), ("logits",), {})
    x = rng.normal(size=(8, 4, 6)).astype(np.float32)
    assert list(expose_activations(calibrate(net, find_scheme("int8-asymmetric"), [{"input": x}]))[1]) == ["kept"]


def folded(seed: int) -> tuple[onnx.ModelProto, np.ndarray[Any, Any]]:
    """Time folded into the batch before two layers, and out of it behind them, as exporters of recognisers write."""
    net = factories.Net(seed, (6, 8))
    x = net.op("Reshape", "input", net.constant([-1, 8], np.int64))
    for _ in range(2):
        x = net.op("Relu", net.op("Gemm", x, net.constant(net.rng.normal(0, 0.5, (8, 8))), transB=1))
    return net.model(net.op("Reshape", x, net.constant([-1, 6, 8], np.int64))), net.inputs(64)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_that_fold_time_into_the_batch_are_judged_too(backend: str) -> None:
    case = Case(folded)
    found = prove_layers(case.int8, load_target(f"x86-{backend}"), case.inputs, predict)
    assert found is not None
    assert (found.fault, found.tensors) == (None, 4)  # folded, one layer, the other, unfolded
    assert found.worst.max <= 1 + 1e-3
    broken = case.mutated(lambda model: scale_weights(model, "Gemm", 0, 1.1))
    found = prove_layers(case.int8, load_target(f"x86-{backend}"), case.inputs, predict, broken)
    assert found is not None
    assert found.fault is not None
    assert found.fault.node.startswith("Relu")
    assert found.fault.tensor == list(expose_activations(case.int8)[1])[1]


def steps_first(seed: int) -> tuple[onnx.ModelProto, np.ndarray[Any, Any]]:
    """Attention as torch has it: all samples of a step before the next, folded for a layer."""
    net = factories.Net(seed, (6, 8))
    x = net.op("Reshape", net.op("Transpose", "input", perm=[1, 0, 2]), net.constant([-1, 8], np.int64))
    x = net.op("Relu", net.op("Gemm", x, net.constant(net.rng.normal(0, 0.5, (8, 8))), transB=1))
    x = net.op("Reshape", x, net.constant([6, -1, 8], np.int64))
    return net.model(net.op("Transpose", x, perm=[1, 0, 2])), net.inputs(16)


def test_layers_whose_samples_lie_in_between_steps_are_judged_as_they_run() -> None:
    case = Case(steps_first)
    found = prove_layers(case.int8, load_target("x86-onnxruntime"), case.inputs, predict)
    assert found is not None
    assert (found.fault, found.worst.max <= 1 + 1e-3) == (None, True)


def rounded(*nodes: onnx.NodeProto, at: str, shape: tuple[Any, ...] = ("N", 6, 4), **constants: Any) -> onnx.ModelProto:
    """Nodes from x to y with quantisers at some edges."""
    values = {name: np.asarray(value) for name, value in constants.items()}
    net = model(list(nodes), values, shape, output_rank=3)
    return insert_activations(net, dict.fromkeys(at.split(), Affine(0.5, 3)), find_scheme("int8-asymmetric"))


RELUS = onnx.helper.make_node("Relu", ["x"], ["a"], name="first"), onnx.helper.make_node("Neg", ["a"], ["y"])


def test_what_is_watched_is_every_tensor_that_is_made_and_quantised() -> None:
    shown, makers = expose_activations(rounded(*RELUS, at="x a"))
    assert makers == {"a": "Relu first"}
    assert [value.name for value in shown.graph.output] == ["y", f"a{WATCHED}"]
    assert expose_activations(rounded(*RELUS, at="x"))[1] == {}
    assert expose_activations(rounded(*RELUS, at="x a", shape=("N", "L", 4)))[1] == {}  # of a size that is not known
    x = random(3, 6, 4)
    seen = Reference(shown).run({"x": x})[f"a{WATCHED}"]
    stored = np.clip(np.rint(np.maximum(np.clip(np.rint(x / 0.5), -3, 252) * 0.5, 0) / 0.5), -3, 252)
    np.testing.assert_array_equal(seen, stored * 0.5)


@pytest.mark.parametrize(("rows", "batch"), [(2, "N"), (6, "N"), (3, "N"), (2, 5), (1, "N")])
def test_rows_that_fold_more_than_the_batch_leave_by_sample(rows: int, batch: Any) -> None:
    target = np.array([-1, 24 // rows])
    nodes = [
        onnx.helper.make_node("Reshape", ["x", "t"], ["f"]),
        onnx.helper.make_node("Relu", ["f"], ["a"], name="first"),
        onnx.helper.make_node("Reshape", ["a", "back"], ["y"]),
    ]
    net = rounded(*nodes, at="x a", shape=(batch, 6, 4), t=target, back=np.array([-1, 6, 4]))
    shown, makers = expose_activations(net)
    assert makers == {"a": "Relu first"}
    x = random(5, 6, 4)
    seen = Reference(shown).run({"x": x})
    watched = seen[f"a{WATCHED}"]
    assert watched.shape == ((5, rows, 24 // rows) if rows > 1 else (5, 24))
    np.testing.assert_array_equal(watched.reshape(5, 6, 4), seen["y"])
    cut = cut_at(shown, makers)
    given = np.round(random(*watched.shape, seed=3))
    found = Reference(cut).run(
        {"x": x, f"a{GIVEN}": given} if "x" in {v.name for v in cut.graph.input} else {f"a{GIVEN}": given}
    )
    np.testing.assert_array_equal(found["y"], given.reshape(5, 6, 4))
