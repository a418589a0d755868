"""What the runtime makes of a file's lines and of a bundle's shapes; layers are told by how they are named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.backends.ncnn.runtime import Ncnn, flat, in_order, layer_of_line, shaped
from tests.backends.ncnn.harness import build
from tests.factories import Net, reference

KEYS = "0=4 1=1.500000000e+00 -23303=2,1,2"


def specs(*names: str) -> list[dict[str, Any]]:
    return [{"name": name} for name in names]


@pytest.mark.parametrize(
    ("line", "inputs", "outputs", "parameters"),
    [
        ("Input in0 0 1 in0", [], ["in0"], {}),
        ("Split s 1 3 a b c d 0=3", ["a"], ["b", "c", "d"], {0: "3"}),
        (f"Concat c 2 1 a b c {KEYS}", ["a", "b"], ["c"], {0: "4", 1: "1.500000000e+00", -23303: "2,1,2"}),
    ],
)
def test_a_line_is_read_as_ncnn_reads_it(
    line: str, inputs: list[str], outputs: list[str], parameters: dict[int, str]
) -> None:
    layer = layer_of_line(line.split())
    assert (layer.kind, layer.name) == tuple(line.split()[:2])
    assert (layer.inputs, layer.outputs, layer.parameters) == (inputs, outputs, parameters)


@pytest.mark.parametrize(
    ("names", "wanted", "order"),
    [
        (["in1", "in0"], ["x", "y"], ["in0", "in1"]),  # files of our own
        (["y", "x"], ["x", "y"], ["x", "y"]),
        (["b", "a"], ["x", "y"], ["b", "a"]),
        (["in1"], ["x"], ["in1"]),
    ],
)
def test_blobs_are_in_the_manifests_order(names: list[str], wanted: list[str], order: list[str]) -> None:
    assert in_order(names, "in", specs(*wanted)) == order


@pytest.mark.parametrize(
    ("given", "shape", "made"),
    [((6,), [None, 2, 3], (2, 3)), ((1,), [None], ()), ((6,), [None, 4], (6,)), ((2, 3), [6], (6,)), ((), [1], (1,))],
)
def test_an_output_has_the_manifests_shape_where_it_fits(
    given: tuple[int, ...], shape: list[int | None], made: tuple[int, ...]
) -> None:
    assert shaped(np.zeros(given), shape).shape == made


def test_a_sample_is_laid_out_as_ncnn_takes_it() -> None:
    turned = flat(np.arange(6.0).reshape(2, 3).T)
    assert (turned.shape, turned.dtype, turned.flags.c_contiguous) == ((3, 2), np.float32, True)
    assert flat(np.float64(3)).tolist() == [3.0]


@pytest.mark.parametrize("runs", [1, 4])
def test_a_profile_names_the_layers_of_the_graph_and_leaves_out_what_lies_between(runs: int, tmp_path: Path) -> None:
    net = Net(0, (2, 3, 6))
    y = net.op("MatMul", "input", net.constant(net.rng.normal(0, 0.4, (6, 4))))
    built = build(net.model(net.relu(net.conv(y, 2, 3))), "float")
    runtime = built.loaded(tmp_path, 1)
    found = runtime.profile([net.inputs(2)], runs)
    layers = [layer for layer in built.layers if layer.kind != "Input"]
    assert [each["kernel"] for each in found] == [layer.kind for layer in layers]
    assert [each["layer"] for each in found] == [None if ":" in layer.name else layer.name for layer in layers]
    assert all(0 < each["us"] < 1e6 for each in found)
    assert {each["precision"] for each in found} == {"float"}


def test_each_sample_of_a_batch_is_inferred(tmp_path: Path) -> None:
    net = Net(0, (2, 3, 6))
    model, x = net.model(net.conv("input", 2, 3)), net.inputs(3)
    runtime = build(model, "float").loaded(tmp_path, 3)
    runtime.feed([x])
    runtime.step()
    (found,) = runtime.fetch()
    assert np.abs(found - reference(model, x)["logits"]).max() <= 1e-5  # sums in another order
    assert runtime.details() == {"precision": "f32"}


def test_a_lone_file_is_two() -> None:
    assert (Ncnn.SUFFIX, Ncnn.COMPANIONS) == (".param", (".bin",))
