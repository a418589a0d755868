"""What strangers' networks are like: heads of pixels beside probabilities, layers kept in float, other people's QDQ."""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edgekd.backends.reference import Reference
from edgekd.distance import sqnr
from edgekd.errors import RefusedByTargetError
from edgekd.onnx_import.shapes import declare_outputs
from edgekd.pipeline import fallback
from edgekd.pipeline.fallback import write_precision
from edgekd.quantization.refine import _foreseen
from edgekd.target import load_target
from tests import host
from tests.onnx_import.trees import tree
from tests.quantization.onnx_models import constants, model, random
from tests.small_run import EXECUTED, edgekd

node = helper.make_node


def detector_head() -> onnx.ModelProto:
    """Boxes in pixels and probabilities in one output, as detectors end."""
    return model(
        [
            node("Conv", ["x", "stem.weight"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
            node("Relu", ["a"], ["b"]),
            node("Conv", ["b", "box.weight", "box.bias"], ["box"]),
            node("Mul", ["box", "stride"], ["pixels"]),
            node("Conv", ["b", "score.weight", "score.bias"], ["logit"]),
            node("Sigmoid", ["logit"], ["score"]),
            node("Concat", ["pixels", "score"], ["y"], name="join", axis=1),
        ],
        {
            "stem.weight": random(8, 3, 3, 3),
            "box.weight": random(4, 8, 1, 1, seed=1) / 3,
            "box.bias": np.full(4, 5, np.float32),
            "score.weight": random(4, 8, 1, 1, seed=2) / 9,
            "score.bias": np.full(4, -1, np.float32),
            "stride": np.array([16], np.float32),
        },
        ("N", 3, 16, 16),
    )


def chain() -> onnx.ModelProto:
    """Three convolutions."""
    layers = [node("Conv", ["x", "first.weight"], ["a"]), node("Relu", ["a"], ["b"])]
    layers += [node("Conv", ["b", "second.weight"], ["c"]), node("Relu", ["c"], ["d"])]
    layers.append(node("Conv", ["d", "third.weight"], ["y"]))
    weights = {
        "first.weight": random(8, 3, 3, 3),
        "second.weight": random(8, 8, 3, 3),
        "third.weight": random(4, 8, 1, 1),
    }
    return model(layers, weights, ("N", 3, 8, 8))


def by_onnxruntime(folder: Path, net: onnx.ModelProto, x: np.ndarray) -> onnx.ModelProto:
    """A network quantised by ONNX Runtime, which leaves Relu and Clip to the limits of its quantisers."""

    class Samples(CalibrationDataReader):
        left = iter([{"x": x[start : start + 8]} for start in range(0, len(x), 8)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    onnx.save(net, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx", folder / "qdq.onnx", Samples(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return onnx.load(folder / "qdq.onnx")


def hard_swishes(depth: int = 4) -> onnx.ModelProto:
    """Convolutions with a hard swish spelled out behind each."""
    values = {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)}
    layers = []
    for index in range(depth):
        source, made = "x" if index == 0 else f"h{index - 1}", "y" if index == depth - 1 else f"h{index}"
        values[f"w{index}"] = random(8, 8 if index else 3, 3, 3, seed=index) / 6
        layers += [
            node("Conv", [source, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]),
            node("Add", [f"c{index}", "three"], [f"p{index}"]),
            node("Clip", [f"p{index}", "zero", "six"], [f"q{index}"]),
            node("Mul", [f"c{index}", f"q{index}"], [made]),
        ]
    return model(layers, {name: np.asarray(value) for name, value in values.items()}, ("N", 3, 8, 8))


def samples(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)


def exported(folder: Path, net: onnx.ModelProto, target: str, x: np.ndarray, *arguments: str, code: int = 0) -> Any:
    """What `edgekd export --json` says of a network."""
    onnx.save(net, folder / "net.onnx")
    np.savez(folder / "x.npz", x=x)
    done = edgekd(
        "export", folder / "net.onnx", "--target", target, "--calibration", folder / "x.npz", "--out", folder, "--json",
        *arguments,
    )  # fmt: skip
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("target", EXECUTED)
def test_probabilities_beside_pixels_keep_their_own_precision(tmp_path: Path, target: str) -> None:
    """40 dB: one scale for both leaves three values of the probabilities, 7 dB."""
    net, x = detector_head(), samples(64, 3, 16, 16)
    report = exported(tmp_path, net, target, x)
    assert report["status"] == "ok", report["reason"]
    golden = np.load(Path(report["bundle"]) / "golden.npz")["output:y"]
    parts = np.moveaxis(golden, -1, 1) if "tflite" in target else golden
    exact = Reference(net).run({"x": x[: len(parts)]})["y"]
    assert (sqnr(parts[:, 4:], exact[:, 4:]) or 0) >= 40


def segmenter() -> onnx.ModelProto:
    """Bytes (N, 32, 32, 3) in, the class of each pixel out, as published segmenters have them."""
    values = {
        "scale": np.float32(1 / 255), "stem.weight": random(8, 3, 3, 3), "body.weight": random(8, 8, 3, 3, seed=1) / 4,
        "head.weight": random(4, 8, 1, 1, seed=2), "sizes": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    nodes = [
        node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), node("Mul", ["f", "scale"], ["m"]),
        node("Transpose", ["m"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "stem.weight"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]), node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "body.weight"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["d"]),
        node("Conv", ["d", "head.weight"], ["e"]), node("Resize", ["e", "", "sizes"], ["g"], mode="linear"),
        node("ArgMax", ["g"], ["y"], axis=1, keepdims=0),
    ]  # fmt: skip
    net = model(nodes, {name: np.asarray(value) for name, value in values.items()}, ("N", 32, 32, 3), output_rank=3)
    net.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    net.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return net


@pytest.mark.parametrize("target", EXECUTED)
def test_bytes_go_in_and_classes_of_pixels_come_out(tmp_path: Path, target: str) -> None:
    """Runtimes round differently; where two classes are as good as equal, they choose differently, too."""
    x = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype(np.uint8)
    report = exported(tmp_path, segmenter(), target, x)
    assert (report["status"], report["layers_int8"]) == ("ok", [3, 0]), report["reason"]
    assert 20 < report["db_from_float"] < 80  # of a random network, between one class in ten and one in ten thousand


@pytest.mark.parametrize("target", EXECUTED)
def test_a_layer_that_is_kept_in_float_runs_in_float(tmp_path: Path, target: str) -> None:
    """ONNX Runtime's optimiser would take it back to int8."""
    report = exported(tmp_path, chain(), target, samples(64, 3, 8, 8), "--keep-float", "second")
    assert report["status"] == "ok", report["reason"]
    kernels = json.loads(edgekd("verify", report["bundle"], "--json").stdout)["kernels"]
    assert (kernels["int8"], kernels["total"]) == (host.int8_kernels(target, 2), 3)


def outlying(peaks: float, depth: int = 6) -> onnx.ModelProto:
    """Convolutions of which the first makes one channel that is `peaks` times as large, and hardly read."""
    weights = {f"w{index}.weight": random(8, 8 if index else 3, 1, 1, seed=index) / 3 for index in range(depth)}
    weights["w0.weight"][0] *= peaks
    weights["w1.weight"][:, 0] /= peaks
    edges = ["x", *(f"a{index}" for index in range(depth - 1)), "y"]
    layers = [node("Conv", [edges[index], f"w{index}.weight"], [edges[index + 1]]) for index in range(depth)]
    return model(layers, weights, ("N", 3, 4, 4))


def everywhere_outlying(peaks: float, depth: int = 4) -> onnx.ModelProto:
    """The same, with such a channel at the input and behind each convolution but the last."""
    net = outlying(1, depth)
    for index, weight in enumerate(net.graph.initializer):
        values = onnx.numpy_helper.to_array(weight).copy()
        values[:, 0] /= peaks
        values[0] *= peaks if index < depth - 1 else 1
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return net


def test_int8_that_is_far_from_float_keeps_its_costliest_tensor_in_float(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(64, 3, 4, 4)).astype(np.float32)
    report = exported(tmp_path, outlying(300), "x86-onnxruntime", x)
    assert report["status"] == "ok", report["reason"]
    assert report["refined"]["kept"] == report["refined"]["costly"][:1] == ["a0"]
    assert report["refined"]["int8_db"] < 10 < 21 <= report["refined"]["db"]
    assert any("'a0' gives" in note for note in report["notes"])


def test_a_network_whose_batch_is_built_in_is_refined_too(tmp_path: Path) -> None:
    """A constant of one row for one sample keeps its batch from being freed."""
    net = outlying(300)
    net.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    net.graph.node[-1].output[0] = "last"
    net.graph.node.append(node("Concat", ["last", "row"], ["y"], axis=1))
    net.graph.initializer.append(onnx.numpy_helper.from_array(random(1, 1, 4, 4), "row"))
    x = np.random.default_rng(0).normal(size=(64, 3, 4, 4)).astype(np.float32)
    report = exported(tmp_path, net, "x86-onnxruntime", x)
    assert report["status"] == "ok", report["reason"]
    assert [row["batch"] for row in report["parity"]] == [1] * len(report["parity"])
    assert report["refined"]["kept"] == ["a0"]


def test_without_refinement_int8_is_left_as_it_is(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(64, 3, 4, 4)).astype(np.float32)
    report = exported(tmp_path, outlying(300), "x86-onnxruntime", x, "--refine", "0", code=4)
    assert report["status"] == "unverified"
    assert "from the float model" in report["reason"]


@pytest.mark.parametrize(("target", "precision"), [("x86-onnxruntime", "float"), ("x86-tflite", "dynamic-range")])
def test_where_no_time_is_left_to_refine_another_precision_is_proven_and_written(
    tmp_path: Path, target: str, precision: str
) -> None:
    """ONNX Runtime has no dynamic range for convolutions."""
    x = np.random.default_rng(0).normal(size=(64, 3, 4, 4)).astype(np.float32)
    report = exported(tmp_path, outlying(300), target, x, "--refine", "0.0001", code=4)
    assert (report["status"], report["precision"]) == ("fallback", precision)
    cut = "the search was cut short after 0.0001 s and 0 candidates: --refine 60 gives it more time"
    assert report["reason"].endswith(cut)
    assert report["refined"]["costly"] == []  # nothing was told apart
    assert report["db_from_float"] >= 20
    assert json.loads(edgekd("verify", report["bundle"], "--json").stdout)["ok"]


@pytest.mark.parametrize(("seconds", "cut"), [(6, True), (10_000, False)])
def test_a_search_that_was_cut_short_does_not_say_that_layers_have_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, cut: bool
) -> None:
    """A clock that ticks once a look leaves time for one candidate: all that was not told apart, which is all."""
    x, ticks = np.random.default_rng(0).normal(size=(16, 3, 4, 4)).astype(np.float32), itertools.count()
    net, x[:, 0] = everywhere_outlying(1e4), x[:, 0] * 1e4
    monkeypatch.setattr(time, "process_time", lambda: float(next(ticks)))
    report = exported(tmp_path, net, "x86-onnxruntime", x, "--refine", seconds, code=4)
    assert (report["refined"]["cut_short"], report["refined"]["tried"]) == (cut, 1 if cut else 3)
    assert ("each of its 4 layers has to stay there" in report["reason"]) is not cut
    assert ("cut short after 6 s and 1 candidate: --refine 60 gives it more time" in report["reason"]) is cut


@pytest.mark.parametrize("net", [chain(), hard_swishes()], ids=["relu", "hard swish"])
def test_activations_that_are_folded_into_quantisers_count_as_what_they_are(
    tmp_path: Path, net: onnx.ModelProto
) -> None:
    """Without the quantisers' limits the yardstick would lack its Relus and Clips: a few dB, or not even finite."""
    x = np.random.default_rng(0).normal(0, 2, (64, 3, 8, 8)).astype(np.float32)
    theirs = by_onnxruntime(tmp_path, net, x)
    assert not {"Relu", "Clip"} & {each.op_type for each in theirs.graph.node}
    report = exported(tmp_path, theirs, "x86-onnxruntime", x)
    assert report["status"] == "ok", report["reason"]
    assert report["db_from_float"] > 25
    kept = {name: value for name, value in constants(theirs).items() if name.endswith("_scale")}
    found = constants(onnx.load(Path(report["bundle"]) / "model.onnx")).values()
    assert all(any(np.array_equal(value, other) for other in found) for value in kept.values())


def test_how_many_tensors_to_keep_follows_from_what_each_costs() -> None:
    """21 dB are a noise of 0.0079 of the signal: what is left may add up to that."""
    assert _foreseen([0.5, 0.1, 0.004, 0.003]) == 2
    assert _foreseen([0.5, 0.1, 0.006, 0.003]) == 3
    assert _foreseen([0.001, 0.001]) == 1


def test_a_network_that_rounding_throws_about_is_not_called_broken(tmp_path: Path) -> None:
    """Sines of large numbers: what fuses a product into a convolution answers something else, and is not wrong."""
    net = model(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Mul", ["c", "much"], ["m"]),
         helper.make_node("Sin", ["m"], ["y"])],
        {"w": random(4, 3, 3, 3), "much": np.float32(3e6)},
    )  # fmt: skip
    inputs, target = {"x": random(16, 3, 6, 6)}, load_target("x86-onnxruntime")
    net = declare_outputs(net, inputs)
    report = write_precision(net, target, tmp_path / "out", inputs, "float", name="net", provenance={})
    assert report["status"] == "unverified"
    assert report["reason"].startswith("inconclusive: inputs moved by a rounding give float answers ")
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_a_fallback_does_not_ask_for_answers_that_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {"x": samples(16, 3, 8, 8)}
    net = declare_outputs(chain(), inputs)
    exact = Reference(net).run(inputs)
    monkeypatch.setattr(fallback, "Reference", None)
    known = {"name": "net", "provenance": {}, "why": "far from float", "exact": exact}
    report = fallback.fall_back(net, load_target("x86-onnxruntime"), tmp_path / "out", inputs, **known)
    assert (report["status"], report["precision"]) == ("fallback", "float")


def test_where_nothing_is_proven_the_targets_that_take_it_are_named_once(tmp_path: Path) -> None:
    """Of trees OpenVINO has not even the float model."""
    net, inputs = tree(), {"x": random(8, 3)}
    with pytest.raises(RefusedByTargetError, match="nothing is proven: no layer; .*TreeEnsembleClassifier") as caught:
        fallback.fall_back(
            net, load_target("x86-openvino"), tmp_path / "out", inputs, name="n", provenance={}, why="no layer"
        )
    assert caught.value.hint.startswith("edgekd export MODEL --target ")
    assert str(caught.value).count("these targets take it") == 1
