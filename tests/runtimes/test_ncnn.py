"""Networks that people deploy in ncnn: quickstart's student to a proven bundle, five of them layer by layer."""

from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.backends.assemble import write_bundle
from edgekd.backends.compiled import Precision
from edgekd.backends.layers import GIVEN, WATCHED, cut_at, expose_activations
from edgekd.backends.reference import Reference, output_steps, reference_graph
from edgekd.devices import open_device
from edgekd.pipeline.parity_evidence import Evidence, Expected, gather_evidence
from tests import factories
from tests.backends.ncnn.arithmetic import as_ncnn
from tests.backends.ncnn.harness import TARGET, Array, build

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NETWORKS = ("ds-cnn", "mobilenet-v2", "u-net", "vit-tiny", "grouped-dilated")
SCHEME, SAMPLES = "int8-symmetric", 16
Arrays = dict[str, Array]


@pytest.fixture(scope="module")
def graphs() -> Iterator[Any]:
    """`graphs(name)`: a network's graphs as `benchmarks/networks.py` makes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import networks

        yield cache(lambda name: networks.Graphs(networks.NETWORKS[name]))


def evidence(model: onnx.ModelProto, plain: onnx.ModelProto, inputs: Arrays, folder: Path) -> Evidence:
    """What this machine makes of an int8 bundle."""
    truth, unquantized = Reference(reference_graph(model, TARGET.backend)).run(inputs), Reference(plain).run(inputs)
    write_bundle(model, TARGET, folder, "int8", name="n", inputs=inputs, outputs=truth, unquantized=unquantized)
    with closing(open_device("local:")) as device:
        return gather_evidence(device, folder, TARGET, Expected(model, inputs, truth, unquantized))


def test_a_student_like_quickstarts_is_proven(tmp_path: Path) -> None:
    """A ResNet-8 on images of its size, every layer in int8; no input is beyond what was calibrated."""
    plain, calibration = factories.resnet(0, size=28)
    model = factories.quantize(plain, calibration, symmetric=True)
    low, high = calibration.min(), calibration.max()
    inputs = {"input": np.clip(factories.inputs_for(model, 64), low, high)}
    found = evidence(model, plain, inputs, tmp_path / "bundle")
    assert found.broken is found.weak is None
    assert (found.kernels.int8, found.kernels.total) == (10, 10)
    assert found.asked == (10, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_within_a_step(graphs: Any, name: str) -> None:
    """On the runtime's own inputs, against ncnn's arithmetic: a step at most, on less than 0.3 % of the elements.

    What differs are depthwise convolutions, whose x86 kernels take an approximate reciprocal, and sums in float.
    """
    model, inputs = graphs(name).graph("calibrated", SCHEME), {"input": graphs(name).samples.numpy()[:SAMPLES]}
    shown, makers = expose_activations(model)
    seen = build(shown).run(inputs["input"])
    cut, steps = cut_at(shown, makers), output_steps(shown)
    given = inputs | {tensor + GIVEN: seen[tensor + WATCHED] for tensor in makers}
    needed = {value.name for value in cut.graph.input}
    truth = Reference(as_ncnn(cut)).run({key: array for key, array in given.items() if key in needed}, batch=8)
    watched = [tensor + WATCHED for tensor in makers]
    apart = [np.abs(seen[key] - truth[key]).ravel() / (steps[key] or 1.0) for key in watched]
    assert max(float(part.max()) for part in apart) <= 1.01
    assert np.mean(np.concatenate(apart) > 0.5) < 0.003


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_floats_are_near_and_the_bundle_is_proven(graphs: Any, name: str, tmp_path: Path) -> None:
    """float32 to 1e-4 of the range, as sums of a whole network are ordered otherwise; float16 to a step of 255."""
    own = graphs(name)
    plain, model = own.graph("float", SCHEME), own.graph("calibrated", SCHEME)
    inputs = {"input": own.samples.numpy()}
    truth = Reference(plain).run(inputs, batch=SAMPLES)
    bounds: tuple[tuple[Precision, float], ...] = (("float", 1e-4), ("float16", 1 / 255))
    for precision, allowed in bounds:
        found = build(plain, precision).run(inputs["input"])
        assert all(np.abs(found[key] - truth[key]).max() <= allowed * np.ptp(truth[key]) for key in truth)
    proof = evidence(model, plain, inputs, tmp_path / "bundle")
    assert proof.broken is proof.weak is None
    int8, floats = proof.asked
    left = sum(note.startswith("layer ") for note in build(model).compiled.notes)
    assert proof.kernels.int8 == int8 - left
    assert proof.kernels.total is not None
    assert proof.kernels.total >= int8 + floats
