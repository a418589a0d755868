"""What each layer takes, on three runtimes."""

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from edgekd.backends import find_backend
from edgekd.backends.assemble import write_bundle
from edgekd.backends.losses import layer_losses
from edgekd.backends.reference import Reference
from edgekd.backends.tflite.runtime import aligned, kernel_of
from edgekd.bundle import load_bundle
from edgekd.measure import Session
from edgekd.measure.records import KernelTime, ProfileRecord
from edgekd.pipeline.fleet import parse_devices
from edgekd.pipeline.profile import UNTOLD, LayerTime, beside, profile_on_each, summed
from edgekd.quantization.calibrate import calibrate
from edgekd.quantization.qdq import insert_activations, strip_activations
from edgekd.quantization.scheme import find_scheme
from edgekd.reporting.last_line import of_profile
from edgekd.reporting.profile import profile_parts
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
    sizes = {name: layers[name]["weights"] for name in ("first", "slow", "last")}
    assert sizes == {"first": 4 * 48, "slow": 48 * 48 * 25, "last": 48 * 4}
    assert sum(layer["share"] for layer in found["layers"]) == pytest.approx(1)
    assert sum(layer["us"] for layer in found["layers"]) == pytest.approx(found["latency_us"])
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in events if event["name"] in sizes] == [*sizes]  # in the order of execution


LOSSY = "last"  # nothing reads it whose bias would have to follow


@pytest.fixture(scope="module", params=[name for name in RUNTIMES if name != "ncnn"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Bundles in int8, in which one layer's output has steps 16 times too coarse, and in float."""
    folder, floating, scheme = tmp_path_factory.mktemp(request.param), three_layers(), find_scheme("int8-asymmetric")
    x = {"x": np.random.default_rng(1).standard_normal((8, 4, 24, 24)).astype(np.float32)}
    single = [{"x": x["x"][at : at + 1]} for at in range(8)]
    bare, grids = strip_activations(calibrate(floating, scheme, single))
    grids[f"{LOSSY}.out"] = grids[f"{LOSSY}.out"]._replace(scale=16 * grids[f"{LOSSY}.out"].scale)
    target = Target(name="t", title="t", backend=request.param, scheme=scheme.name, batch=1)
    coarse = insert_activations(bare, grids, scheme)
    for model, precision, layers in ((coarse, "int8", layer_losses(coarse, x)), (floating, "float", ())):
        outputs = Reference(model).run(x)
        write_bundle(model, target, folder / precision, precision, name="net", inputs=x, outputs=outputs, layers=layers)
    return folder / "int8", folder / "float"


def test_a_planted_lossy_layer_is_the_first_beside_the_float_file(pair: tuple[Path, Path]) -> None:
    """Its steps cost log2(16) bits, 24 dB less its share of what others lose; it is small and cheap in float, too.

    Only a layer that float makes no slower, by some counters, may be before it: of the small ones that is luck, as it
    is of all where a runtime computes int8 in float, for a CPU without VNNI.
    """
    int8, floating = pair
    (lost,) = (loss.lost_db for loss in load_bundle(int8).layers if loss.layer == LOSSY)
    assert lost is not None
    assert lost > 15
    found = json.loads(edgekd("profile", int8, "--against", floating, "--runs", 20, "--json").stdout)
    names = [layer["layer"] for layer in found["layers"]]
    own = found["layers"][names.index(LOSSY)]
    assert own["lost_db"] == lost == max(layer["lost_db"] or 0 for layer in found["layers"])
    assert own["other_us"] is not None
    before = found["layers"][: names.index(LOSSY)]
    assert all(layer["other_us"] - layer["us"] <= UNTOLD * layer["us"] for layer in before)
    assert found["other"] == str(floating)
    assert [layer["weights"] for layer in found["layers"] if layer["layer"] == "slow"] == [48 * 48 * 25]
    assert "3 by name" in found["matched"]
    alone = json.loads(edgekd("profile", int8, "--runs", 20, "--json").stdout)
    assert alone["layers"][0]["layer"] == "slow"


def renamed() -> onnx.ModelProto:
    """The same network by a tool that names neither layers nor weights."""
    model = three_layers()
    names = {tensor.name: f"onnx::Conv_{at}" for at, tensor in enumerate(model.graph.initializer)}
    names |= {edge: f"t{at}" for at, node in enumerate(model.graph.node) for edge in node.output}
    for tensor in (*model.graph.initializer, *model.graph.output):
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.name = ""
        for edges in (node.input, node.output):
            edges[:] = [names.get(edge, edge) for edge in edges]
    return model


@pytest.mark.parametrize("swapped", [False, True])
def test_layers_of_other_names_are_found_by_the_sizes_of_their_weights(
    pair: tuple[Path, Path], tmp_path: Path, swapped: bool
) -> None:
    onnx.save(renamed(), tmp_path / "renamed.onnx")
    ours, theirs = (tmp_path / "renamed.onnx", pair[0]) if swapped else (pair[0], tmp_path / "renamed.onnx")
    done = edgekd("profile", ours, "--against", theirs, "--runs", 5, "--json")
    found = json.loads(done.stdout)
    told = {layer["layer"]: (layer["other_layer"], layer["other_us"]) for layer in found["layers"] if layer["weights"]}
    there = {"first": "t1", "slow": "t3", "last": "t5"}
    pairs = {mine: name for mine, (name, us) in told.items() if us is not None}
    assert pairs == ({name: layer for layer, name in there.items()} if swapped else there)
    assert "3 by size and order of weights" in found["matched"]


def test_the_other_file_is_timed_with_the_batch_and_threads_of_the_first(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model file alone takes one thread, a bundle those of its target."""
    asked, profiled = list[tuple[int | None, int | None]](), Session.profile

    def noted(session: Session, runs: int) -> ProfileRecord:
        asked.append((session.batch, session.threads))
        return profiled(session, runs)

    monkeypatch.setattr(Session, "profile", noted)
    profile_on_each(pair[0], parse_devices(), runs=1, threads=2, against=pair[1])
    assert asked == [(None, 2), (1, 2)]


def test_what_saves_nothing_and_loses_comes_first_then_decibels_for_time() -> None:
    def layer(name: str, us: float, other: float, lost: float) -> LayerTime:
        return LayerTime(
            place=0, layer=name, kernels=("Conv",), precision="int8", placement="CPU", share=0.1, us=us, below=False,
            lost_db=lost, other_us=other,
        )  # fmt: skip

    layers = [layer("dear", 1, 9, 4), layer("cheap", 1, 2, 4), layer("free", 2, 1, 1), layer("exact", 2, 1, 0)]
    layers += [layer("as dear as counters tell", 10, 10.9, 0.5)]
    ranked = sorted(layers, key=lambda one: one.rank, reverse=True)
    assert [one.layer for one in ranked][:4] == ["free", "as dear as counters tell", "cheap", "dear"]


def test_what_a_runtime_does_not_tell_is_one_line(tmp_path: Path) -> None:
    onnx.save(three_layers(), tmp_path / "net.onnx")
    assert "unknown device" in complaint(edgekd("profile", tmp_path / "net.onnx", "--device", "lcoal:"), 2)
    assert "no input 'z'" in complaint(edgekd("profile", tmp_path / "net.onnx", "--shape", "z=1"), 2)


def record(
    *times: tuple[str | None, float], latency: float = 100.0, weights: Sequence[int | None] = ()
) -> ProfileRecord:
    kernels = [
        KernelTime(name=str(at), layer=layer, kernel="Conv", precision="int8", placement="CPU", us=us, weights=size)
        for at, ((layer, us), size) in enumerate(zip_longest(times, weights, fillvalue=None))
    ]
    return ProfileRecord(source="s", batch=1, threads=1, runs=1, latency_us=latency, kernels=tuple(kernels))


def test_kernels_of_one_layer_are_one_row_and_shares_are_of_the_whole() -> None:
    found = summed("m", "local:", record(("a", 20), (None, 10), ("b", 30), ("a", 40), ("c", 0)))
    assert [(row.layer, row.share, row.us, row.below) for row in found.layers] == [
        ("a", 0.6, 60.0, False), ("b", 0.3, 30.0, False), (None, 0.1, 10.0, False), ("c", 0.0, 0.0, True),
    ]  # fmt: skip
    assert (found.coverage, found.warning) == (1.0, None)


@pytest.mark.parametrize(
    ("ours", "theirs", "pairs", "told"),
    [
        ({"a": 9, "b": 4}, {"b": 4, "a": 9}, {"a": "a", "b": "b"}, "of 2 layers, 2 by name"),
        ({"a": 9, "b": 9, "c": 4}, {"x": 9, "y": 4, "z": 9}, {"a": "x", "b": "z", "c": "y"}, "3 by size and order"),
        ({"a": 9, "b": 9, "c": 4}, {"x": 9, "y": 4}, {"c": "y"}, "of 3 layers, 1 by size"),  # which of the nines?
        ({"a": 9, "b": 4}, {"a": 9, "x": 4}, {"a": "a", "b": "x"}, "1 by name, 1 by size and order of weights"),
        ({"Conv_1": 9, "b": 4}, {"Conv_1": 4, "x": 9}, {"Conv_1": "x", "b": "Conv_1"}, "2 by size"),
        ({"add": None}, {"add": None}, {"add": "add"}, "1 by name"),
        ({"add": None}, {"sum": None}, {}, "no layer was found there"),
        ({None: None, "a": 9}, {"": 4}, {}, "no layer was found there"),  # the runtime's own is no layer
    ],
)
def test_layers_pair_by_name_or_else_by_size_in_order(
    ours: dict[str | None, int | None], theirs: dict[str | None, int | None], pairs: dict[str, str], told: str
) -> None:
    one, other = (
        summed(
            "m", "local:", record(*((name, 10.0 + at) for at, name in enumerate(layers)), weights=[*layers.values()])
        )
        for layers in (ours, theirs)
    )
    found = beside(one, other)
    assert {layer.layer: layer.other_layer for layer in found.layers if layer.other_us is not None} == pairs
    assert told in (found.matched or "")
    times = {layer.layer: layer.us for layer in other.layers}
    assert all(layer.other_us == times[layer.other_layer] for layer in found.layers if layer.other_layer)
    assert told in "".join(profile_parts([found.model_dump(mode="json")])[0].notes)


def test_the_last_line_names_what_takes_longest_in_whatever_order() -> None:
    found = beside(
        summed("m", "local:", record(("a", 20), ("b", 80))), summed("n", "local:", record(("b", 99), ("a", 9)))
    )
    document = found.model_dump(mode="json")
    document["layers"].sort(key=lambda layer: layer["us"])
    assert of_profile(document) == "2 layers; b takes 80 %"


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
        (["CONV_2D"], ["Convolution (NHWC)", "Softmax"], [0, None]),
        (["RESIZE", "CONV_2D", "FULLY_CONNECTED"], ["Resize", "Convolution", "Fully Connected"], [None, 1, 2]),
        (["RESIZE", "TRANSPOSE_CONV"], ["Resize", "Convolution"], [None, None]),
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
