"""Each layer alone, where the runtime is the reference itself and is wrong by as much as a test asks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.backends import layers as proving
from edgekd.backends.layer_proof import LayerProof
from edgekd.backends.layers import WATCHED, expose_activations, prove_layers
from edgekd.backends.reference import Reference, output_steps
from edgekd.bundle import load_bundle
from edgekd.quantization.qdq import insert_activations
from edgekd.quantization.ranges import Affine
from edgekd.quantization.scheme import find_scheme
from edgekd.target import load_target
from tests import factories
from tests.factories import Net

Arrays = dict[str, np.ndarray[Any, Any]]
TARGET = load_target("x86-onnxruntime")


def tiny(float_outputs: bool = False) -> tuple[Net, onnx.ModelProto]:
    net = Net(0, (6,))
    made = net.gemm(net.relu(net.gemm("input", 6, 5)), 5, 4)
    return net, factories.quantize(net.model(made), net.inputs(64), float_outputs=float_outputs)


class Runtime:
    """Computes a bundle's graph; `spoil` may change its answers. `asked` is how many samples came, and the batch."""

    def __init__(self, spoil: Callable[[str, Arrays], None] = lambda folder, answers: None) -> None:
        self.spoil, self.asked = spoil, list[tuple[str, int, int]]()

    def __call__(self, bundle: Path, arrays: Arrays, batch: int) -> Arrays:
        self.asked.append((bundle.name, len(arrays["input"]), batch))
        answers = Reference(onnx.load(bundle / load_bundle(bundle).model)).run(arrays)
        self.spoil(bundle.name, answers)
        return answers


def proven(
    count: int = 40, spoil: Callable[[str, Arrays], None] = lambda folder, answers: None, **options: Any
) -> tuple[LayerProof, Runtime]:
    net, quantised = tiny(**options)
    runtime = Runtime(spoil)
    found = prove_layers(quantised, TARGET, {"input": net.inputs(count, seed=1)}, runtime)
    assert found is not None
    return found, runtime


@pytest.fixture(scope="module")
def bytes_of_a_sample() -> int:
    return proving._bytes_per_sample(expose_activations(tiny()[1])[0])


def last_layer() -> tuple[str, float]:
    """The tensor, as the file calls it where it is shown, and its step."""
    shown, makers = expose_activations(tiny()[1])
    name = list(makers)[-1] + WATCHED
    step = output_steps(shown)[name]
    assert step is not None
    return name, step


def test_a_runtime_that_is_the_reference_is_exact() -> None:
    found, runtime = proven()
    assert (found.tensors, found.exact, found.worst.max) == (2, 1.0, 0.0)
    assert (found.same, found.fault) == (True, None)
    assert runtime.asked == [("plain", 32, TARGET.batch), ("shown", 32, TARGET.batch)]


@pytest.mark.parametrize(("given", "judged"), [(2, 2), (33, 32)])
def test_thirty_two_samples_are_enough(given: int, judged: int) -> None:
    assert proven(given)[0].samples == judged


@pytest.mark.parametrize(("room", "judged"), [(1.0, 2), (3.0, 3)])
def test_fewer_are_judged_where_their_tensors_are_large(
    room: float, judged: int, bytes_of_a_sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "MOST_BYTES", int(room * bytes_of_a_sample))
    assert proven()[0].samples == judged


@pytest.mark.parametrize(("room", "pieces"), [(0.5, [1, 1, 1]), (2.0, [2, 1])])
def test_as_many_are_held_at_once_as_there_is_room_for(
    room: float, pieces: list[int], bytes_of_a_sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "MOST_AT_ONCE", int(room * bytes_of_a_sample))
    found, runtime = proven(3)
    assert [count for folder, count, _ in runtime.asked if folder == "shown"] == pieces
    assert [count for folder, count, _ in runtime.asked if folder == "plain"] == [3]
    assert (found.samples, found.exact, found.same) == (3, 1.0, True)


def test_a_sample_takes_four_bytes_of_each_number_that_is_shown() -> None:
    """The answer, and two layers: the last one is shown once more."""
    assert proving._bytes_per_sample(expose_activations(tiny()[1])[0]) == 4 * (4 + 5 + 4)


@pytest.mark.parametrize(("steps", "fault"), [(0.49, False), (1.0, False), (1.01, True)])
def test_a_layer_beyond_one_step_is_at_fault(steps: float, fault: bool) -> None:
    name, step = last_layer()

    def spoil(folder: str, answers: Arrays) -> None:
        if name in answers:
            answers[name][:4, 0] += np.float32(steps * step)

    found, _ = proven(16, spoil)
    assert found.worst.tensor + WATCHED == name
    assert found.worst.max == pytest.approx(steps, rel=1e-3)
    assert (found.fault is not None) == fault
    wrong = 4 / (16 * 4) if steps > 0.5 else 0.0  # of its 64 numbers, and none of the other layer's
    assert (found.worst.exact, found.exact) == pytest.approx((1 - wrong, 1 - wrong / 2))
    assert found.same


def test_half_a_step_is_not_exact() -> None:
    """Steps of a half, so that a quarter is exact in float32."""
    net = Net(0, (6, 4))
    made = net.relu("input")
    plain = net.model(net.op("Neg", made))
    rounded = insert_activations(plain, dict.fromkeys(("input", made), Affine(0.5, 3)), find_scheme("int8-asymmetric"))

    def spoil(folder: str, answers: Arrays) -> None:
        if made + WATCHED in answers:
            answers[made + WATCHED][0, 0, :2] += 0.25
            answers["logits"] = -answers[made + WATCHED]

    found = prove_layers(rounded, TARGET, {"input": 20 * net.inputs(8)}, Runtime(spoil))
    assert found is not None
    assert (found.worst.tensor, found.worst.max, found.worst.exact) == (made, 0.5, 1 - 2 / (8 * 24))


def test_what_is_no_number_is_far() -> None:
    name, _ = last_layer()

    def spoil(folder: str, answers: Arrays) -> None:
        if name in answers:
            answers[name][3, 1] = np.inf

    found, _ = proven(16, spoil)
    assert found.fault is not None
    assert found.fault.max == 1e9


@pytest.mark.parametrize(("folder", "sample"), [("plain", 0), ("shown", 0), ("shown", 4)])
def test_the_build_that_shows_its_tensors_has_to_answer_alike(
    folder: str, sample: int, bytes_of_a_sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "MOST_AT_ONCE", 2 * bytes_of_a_sample)
    calls: Iterator[int] = iter(range(9))

    def spoil(name: str, answers: Arrays) -> None:
        start = 2 * next(calls) if name == "shown" else 0
        if name == folder and start <= sample < start + len(answers["logits"]):
            answers["logits"][sample - start] += 1

    assert not proven(5, spoil)[0].same


def test_an_output_that_stays_float_counts_in_parts_of_its_range() -> None:
    def spoil(folder: str, answers: Arrays) -> None:
        answers["logits"] += np.float32(0.01)

    found, _ = proven(16, spoil, float_outputs=True)
    net, quantised = tiny(float_outputs=True)
    truth = Reference(quantised).run({"input": net.inputs(16, seed=1)})["logits"]
    assert (found.worst.tensor, found.worst.node) == ("logits", "the network's output")
    assert found.worst.max == pytest.approx(0.01 * 255 / float(np.ptp(truth)), rel=1e-3)
    assert found.tensors == 2
    assert proven(16, float_outputs=True)[0].exact == 1.0


def test_a_net_without_quantised_activations_has_no_layers_to_prove() -> None:
    net = Net(0, (6,))
    assert prove_layers(net.model(net.gemm("input", 6, 4)), TARGET, {"input": net.inputs(4)}, Runtime()) is None
