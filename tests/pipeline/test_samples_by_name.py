"""Data for a bundle of several inputs: an array for each, of its name, checked as a single one is."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.data.ranges import range_of
from edgekd.schema import TaskSpec
from edgekd.target import load_target
from tests.pipeline.test_samples import QUICK, accuracy
from tests.small_run import complaint, edgekd

Array = np.ndarray[Any, Any]
COUNT, WORDS = 24, 16
GRAPH = """
<ir_version: 10, opset_import: ["": 21]>
net (float[N, 6] signal, int64[N, 4] words) => (float[N, 3] logits)
<float[16, 6] table, float[12, 3] weight, int64[1] axis = {1}> {
    found = Gather(table, words)
    mean = ReduceMean<keepdims = 0>(found, axis)
    both = Concat<axis = 1>(signal, mean)
    logits = MatMul(both, weight)
}
"""


def samples(count: int, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {
        "signal": random.normal(0, 1, (count, 6)).astype(np.float32),
        "words": random.integers(0, WORDS, (count, 4)),
    }


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    found, random = parser.parse_model(GRAPH), np.random.default_rng(0)
    for name, shape in (("table", (WORDS, 6)), ("weight", (12, 3))):
        found.graph.initializer.append(onnx.numpy_helper.from_array(random.normal(0, 1, shape).astype("f4"), name))
    return found


@pytest.fixture(scope="module")
def bundle(model: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, inputs = tmp_path_factory.mktemp("named") / "bundle", samples(64, 0)
    write_bundle(
        model, load_target("x86-onnxruntime"), folder, "float", name="net", inputs=inputs,
        outputs=Reference(model).run(inputs), labels=list("abc"), ranges={"signal": range_of(inputs["signal"])},
        task=TaskSpec(name="classification"),
    )  # fmt: skip
    return folder


def labelled(model: onnx.ModelProto) -> dict[str, Array]:
    """What the network answers, but for one in four."""
    inputs = samples(COUNT, 1)
    found = Reference(model).run(inputs)["logits"].argmax(1)
    return inputs | {"y": np.where(np.arange(COUNT) % 4 == 0, (found + 1) % 3, found)}


def ask(folder: Path, bundle: Path, arrays: dict[str, Array], *more: Any, command: str = "verify") -> Any:
    np.savez(folder / "t.npz", **arrays)
    return edgekd(command, bundle, "--data", folder / "t.npz", "--json", *more)


def test_a_bundle_of_several_inputs_is_scored_by_arrays_of_their_names(
    model: onnx.ModelProto, bundle: Path, tmp_path: Path
) -> None:
    """Exactly: three of four labels are its own. What else the file holds is nobody's input."""
    arrays = labelled(model) | {"id": np.arange(COUNT)}
    assert accuracy(ask(tmp_path, bundle, arrays)) == 0.75
    assert accuracy(ask(tmp_path, bundle, arrays, *QUICK, command="bench")) == 0.75
    assert accuracy(ask(tmp_path, bundle, arrays, "--metric", "accuracy")) == 0.75


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"words": None}, "needs arrays signal, words and y (or y_test); there is: signal, y"),
        ({"words": samples(COUNT - 1, 1)["words"]}, "words has 23 samples, y 24"),
        ({"signal": np.zeros((COUNT, 5), "f4")}, "signal has shape (24, 5); the model takes (N, 6)"),
        ({"words": np.zeros((COUNT, 4), np.float32)}, "words is float32; the model takes int64"),
        ({"words": np.full((COUNT, 4), WORDS)}, "words holds the token 16: the model knows 16, from 0"),
        ({"signal": np.zeros((COUNT, 6), np.uint8)}, "signal: the bundle says nothing of preprocessing, so it must"),
        ({"signal": np.full((COUNT, 6), np.nan, "f4")}, "signal is not finite in sample 0"),
        ({"signal": 1000 * samples(COUNT, 1)["signal"]}, "training or calibration inputs"),
        ({"y": np.full(COUNT, 3)}, "y holds 3 in sample 0"),
    ],
)
def test_each_input_is_checked_as_a_single_one_is(
    model: onnx.ModelProto, bundle: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    arrays = {name: value for name, value in (labelled(model) | change).items() if value is not None}
    assert words in complaint(ask(tmp_path, bundle, arrays), 2)
