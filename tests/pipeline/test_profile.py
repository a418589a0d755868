"""What each layer takes, on three runtimes."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from edgekd.backends import find_backend
from edgekd.backends.tflite.runtime import aligned, kernel_of
from edgekd.measure.records import KernelTime, ProfileRecord
from edgekd.pipeline.profile import summed
from edgekd.runner.runtime import layer_of
from edgekd.target import Target
from tests.small_run import complaint, edgekd

RUNTIMES = ("ncnn", "onnxruntime", "openvino", "tflite")


def three_layers() -> onnx.ModelProto:
    """Three convolutions, of which the second multiplies some 50 times as often as the others."""
    random = np.random.default_rng(0)
    widths = {"first": (4, 48), "slow": (48, 48), "last": (48, 4)}
    weights = [
        numpy_helper.from_array(
            random.standard_normal((b, a, *((5, 5) if name == "slow" else (1, 1)))).astype(np.float32) / 30,
            f"{name}.weight",
        )
        for name, (a, b) in widths.items()
    ]
    nodes, edge = [], "x"
    for name in widths:
        pads = [2] * 4 if name == "slow" else [0] * 4
        nodes += [
            make_node("Conv", [edge, f"{name}.weight"], [f"{name}.sum"], name=name, pads=pads),
            make_node("Relu", [f"{name}.sum"], [f"{name}.out"]),
        ]
        edge = f"{name}.out"
    x = make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4, 24, 24])
    y = make_tensor_value_info(edge, onnx.TensorProto.FLOAT, [1, 4, 24, 24])
    return make_model(make_graph(nodes, "g", [x], [y], weights), opset_imports=[make_opsetid("", 17)])


@pytest.fixture(scope="module", params=RUNTIMES)
def model_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    target = Target(name="t", title="t", backend=request.param, scheme="int8-asymmetric")
    return folder / find_backend(request.param).compile(three_layers(), target, folder, "float").model


def test_a_planted_slow_layer_is_the_first(model_file: Path, tmp_path: Path) -> None:
    done = edgekd("profile", model_file, "--runs", 20, "--trace", tmp_path / "trace.json", "--json")
    found = json.loads(done.stdout)
    layers = {layer["layer"]: layer for layer in found["layers"]}
    assert found["layers"][0]["layer"] == "slow"
    assert {"first", "slow", "last"} <= layers.keys()
    assert layers["slow"]["share"] > 0.5  # of the multiplications it has 96 %
    assert sum(layer["share"] for layer in found["layers"]) == pytest.approx(1)
    assert sum(layer["us"] for layer in found["layers"]) == pytest.approx(found["latency_us"])
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in events][:1] == ["slow"]


def test_what_a_runtime_does_not_tell_is_one_line(tmp_path: Path) -> None:
    onnx.save(three_layers(), tmp_path / "net.onnx")
    assert "unknown device" in complaint(edgekd("profile", tmp_path / "net.onnx", "--device", "lcoal:"), 2)
    assert "no input 'z'" in complaint(edgekd("profile", tmp_path / "net.onnx", "--shape", "z=1"), 2)


def record(*times: tuple[str | None, float], latency: float = 100.0) -> ProfileRecord:
    kernels = [
        KernelTime(name=str(at), layer=layer, kernel="Conv", precision="int8", placement="CPU", us=us)
        for at, (layer, us) in enumerate(times)
    ]
    return ProfileRecord(source="s", batch=1, threads=1, runs=1, latency_us=latency, kernels=tuple(kernels))


def test_kernels_of_one_layer_are_one_row_and_shares_are_of_the_whole() -> None:
    found = summed("m", "local:", record(("a", 20), (None, 10), ("b", 30), ("a", 40), ("c", 0)))
    assert [(row.layer, row.share, row.us, row.below) for row in found.layers] == [
        ("a", 0.6, 60.0, False), ("b", 0.3, 30.0, False), (None, 0.1, 10.0, False), ("c", 0.0, 0.0, True),
    ]  # fmt: skip
    assert (found.coverage, found.warning) == (1.0, None)


@pytest.mark.parametrize(("whole", "doubted"), [(89.9, True), (90.1, False), (109.9, False), (110.1, True)])
def test_a_sum_that_is_not_the_whole_is_said_to_be(whole: float, doubted: bool) -> None:
    found = summed("m", "local:", record(("a", whole)))
    assert (found.warning is not None) is doubted
    assert found.layers[0].us == 100.0


def test_nothing_counted_is_no_division_by_zero() -> None:
    assert summed("m", "local:", record(("a", 0.0))).layers[0].us == 0.0


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("stem.0.weight_quantized", "stem.0"),
        ("head.bias", "head"),
        ("weight", None),
        ("w_3", None),
        ("a.weights", None),
    ],
)
def test_layers_are_named_by_their_weights(name: str, layer: str | None) -> None:
    assert layer_of(name) == layer


@pytest.mark.parametrize(
    ("operators", "tags", "found"),
    [
        (["QUANTIZE", "CONV_2D"], ["Convert (NC)", "Convolution (NHWC)"], [0, 1]),
        (["CONV_2D", "MEAN"], ["Convolution (NHWC)", "Mean (ND)", "Static Reshape"], [0, 1, 1]),
        (["PAD", "CONV_2D"], ["Convolution (NHWC)"], [1]),
        (["CONV_2D", "ADD"], ["Fully Connected (NC)", "Add (ND)", "Clamp (NC)"], [0, 1, 1]),
        (["CONV_2D", "CONV_2D"], ["Convolution (NHWC)"], [None]),
        (["CONV_2D"], ["Convolution (NHWC)", "Softmax"], [None, None]),
        (["NOBODY_KNOWS"], ["Softmax"], [None]),
    ],
)  # fmt: skip
def test_operators_without_names_are_matched_in_order_or_not_at_all(
    operators: list[str], tags: list[str], found: list[int | None]
) -> None:
    assert aligned(operators, tags) == found


@pytest.mark.parametrize(
    ("tag", "kernel", "precision"),
    [
        ("Convolution (NHWC, QC8) IGEMM", "Convolution IGEMM", "qc8"),
        ("Fully Connected (NC, QS8, QC8W) GEMM", "Fully Connected GEMM", "qc8w"),
        ("Clamp", "Clamp", None),
    ],
)
def test_a_tag_tells_kernel_and_precision(tag: str, kernel: str, precision: str | None) -> None:
    assert kernel_of(tag) == (kernel, precision)
