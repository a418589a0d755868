"""`edgekd export`: foreign graphs become bundles that are proven here, or are refused with advice."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd.bundle import load_bundle
from edgekd.data.dataset import normalisation, prepare
from tests import factories, host
from tests.small_run import EXECUTED, complaint, edgekd


@pytest.fixture(scope="module")
def calibration(small_run, tmp_path_factory):
    with np.load(small_run.data) as archive:
        inputs = prepare(archive["x_train"], normalisation(archive["x_train"]))
    path = tmp_path_factory.mktemp("calibration") / "x.npz"
    np.savez(path, input=inputs)
    return path


def export(model, target, out, *arguments):
    return edgekd("export", model, "--target", target, "--out", out, "--json", *arguments)


@pytest.mark.parametrize("target", EXECUTED)
def test_a_float_graph_is_calibrated_and_proven(small_run, calibration, tmp_path, target):
    done = export(small_run.folder / "onnx" / "float.onnx", target, tmp_path, "--calibration", calibration)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "ok", report["reason"]
    assert [row["batch"] for row in report["parity"]] == [1, 8]
    bundle = tmp_path / f"float-{target}"
    assert report["bundle"] == str(bundle)
    verdict = json.loads(edgekd("verify", bundle, "--json").stdout)
    assert (verdict["kernels"]["int8"], verdict["kernels"]["total"]) == (host.int8_kernels(target, 10), 10)


@pytest.mark.parametrize("target", EXECUTED)
def test_a_qdq_graph_keeps_every_bit_for_another_target_of_its_scheme(small_run, tmp_path, target):
    done = export(small_run.folder / "onnx" / "int8-asymmetric.onnx", target, tmp_path)
    assert done.exit_code == 0, done.stderr
    exported, own = load_bundle(tmp_path / f"int8-asymmetric-{target}"), load_bundle(small_run.bundle(target))
    assert exported.model_files == own.model_files  # the same hashes: scales, zero points and weights are bit-equal


def test_scales_are_those_of_the_graph(small_run, tmp_path):
    source = small_run.folder / "onnx" / "int8-asymmetric.onnx"
    assert export(source, "x86-onnxruntime", tmp_path).exit_code == 0
    assert scales(tmp_path / "int8-asymmetric-x86-onnxruntime" / "model.onnx") == scales(source)


def scales(path):
    model = onnx.load(path)
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    quantisers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantisers
    return [(node.op_type, *(constants[name].tobytes() for name in node.input[1:])) for node in quantisers]


def test_what_cannot_run_here_is_unverified(small_run, tmp_path):
    done = export(small_run.folder / "onnx" / "int8-symmetric.onnx", "jetson-orin-nano", tmp_path)
    assert done.exit_code == 4, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "unverified"
    assert report["parity"] == []
    bundle = tmp_path / "int8-symmetric-jetson-orin-nano"
    assert load_bundle(bundle).target == "jetson-orin-nano"  # it is there all the same
    assert done.stderr.splitlines()[-1] == f"not proven: {bundle} is written, but {report['reason']}"


@pytest.mark.parametrize(
    ("scheme", "target"), [("int8-asymmetric", "jetson-orin-nano"), ("int8-symmetric", "x86-tflite")]
)
def test_a_graph_of_the_other_scheme_is_refused_with_advice(small_run, tmp_path, scheme, target):
    message = complaint(export(small_run.folder / "onnx" / f"{scheme}.onnx", target, tmp_path), 2)
    assert f"is quantised for {scheme}" in message
    assert "export its float original with --calibration" in message
    assert not any(tmp_path.iterdir())


def test_a_float_graph_needs_calibration(small_run, tmp_path):
    message = complaint(export(small_run.folder / "onnx" / "float.onnx", "x86-tflite", tmp_path), 2)
    assert "--calibration X.npz" in message


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"input": np.zeros((4, 1, 12, 12), np.uint8)}, "input is uint8; model inputs are float32"),
        ({"input": np.full((4, 1, 12, 12), np.nan, np.float32)}, "not finite"),
        ({"input": np.zeros((4, 3, 12, 12), np.float32)}, "input"),
        ({"input": np.zeros((4, 1, 12), np.float32)}, "input"),
        ({"input": np.zeros((0, 1, 12, 12), np.float32)}, "at least one"),
        ({"a": np.zeros(1), "b": np.zeros(1)}, "needs arrays input; there is: a, b"),
    ],
)
def test_calibration_that_does_not_fit_is_refused(small_run, tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    refused = export(
        small_run.folder / "onnx" / "float.onnx", "x86-tflite", tmp_path, "--calibration", tmp_path / "x.npz"
    )
    assert words in complaint(refused, 2)


def test_corrupt_files_are_refused(small_run, tmp_path):
    graph, broken = small_run.folder / "onnx" / "float.onnx", tmp_path / "broken"
    broken.write_bytes(graph.read_bytes()[:1000])
    assert "broken: not a valid ONNX model" in complaint(export(broken, "x86-tflite", tmp_path), 2)
    assert "no such file" in complaint(export(tmp_path / "nowhere.onnx", "x86-tflite", tmp_path), 2)
    broken.write_bytes(small_run.data.read_bytes()[:1000])
    refused = export(graph, "x86-tflite", tmp_path, "--calibration", broken)
    assert "broken: not a readable npz file" in complaint(refused, 2)
    assert "did you mean 'x86-tflite'" in complaint(export(graph, "x86-tflit", tmp_path), 2)


def overflowing(folder):
    """A bias at the end of int32: the sum wraps in every integer kernel, not in the reference's float32.

    The file, its inputs' file, and the output of the layer at fault.
    """
    model, inputs = factories.resnet(0)
    quantised = factories.quantize(model, inputs)
    constants = {c.name: c for c in quantised.graph.initializer}
    makers = {node.output[0]: node for node in quantised.graph.node}
    conv = [node for node in quantised.graph.node if node.op_type == "Conv"][2]  # its input is what a ReLU left
    weight, bias = (constants[makers[name].input[0]] for name in conv.input[1:])
    values = numpy_helper.to_array(weight).copy()
    values[0] = np.abs(values[0])
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    values = numpy_helper.to_array(bias).copy()
    values[0] = np.iinfo(np.int32).max
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(quantised, folder / "net.onnx")
    np.savez(folder / "x.npz", input=inputs)
    return folder / "net.onnx", folder / "x.npz", conv.output[0]


def test_parity_that_does_not_hold_names_the_layer_at_fault_and_leaves_nothing(tmp_path):
    model, inputs, fault = overflowing(tmp_path)
    message = complaint(export(model, "x86-onnxruntime", tmp_path / "out", "--calibration", inputs), 1)
    assert "parity does not hold: logits at batch 1" in message
    assert f"the layer at fault: {fault}, made by Conv" in message
    assert not any((tmp_path / "out").iterdir())


def test_an_earlier_bundle_stays_where_a_new_one_is_refused(tmp_path):
    model, inputs, _ = overflowing(tmp_path)
    good = tmp_path / "good"
    good.mkdir()
    onnx.save(factories.quantize(*factories.resnet(0)), good / "net.onnx")
    assert export(good / "net.onnx", "x86-onnxruntime", tmp_path / "out", "--calibration", inputs).exit_code == 0
    before = load_bundle(tmp_path / "out" / "net-x86-onnxruntime")
    complaint(export(model, "x86-onnxruntime", tmp_path / "out", "--calibration", inputs), 1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["net-x86-onnxruntime"]
    assert load_bundle(tmp_path / "out" / "net-x86-onnxruntime") == before


def test_raw_data_need_a_bundle_that_knows_their_preprocessing(small_run, tmp_path):
    exported = edgekd(
        "export", small_run.folder / "onnx/int8-asymmetric.onnx", "--target", "x86-onnxruntime", "--out", tmp_path
    )
    assert exported.exit_code == 0, exported.stderr
    np.savez(tmp_path / "raw.npz", x=np.zeros((4, 1, 12, 12), np.uint8), y=np.zeros(4, int))
    refused = edgekd("verify", tmp_path / "int8-asymmetric-x86-onnxruntime", "--data", tmp_path / "raw.npz")
    assert "says nothing of preprocessing" in complaint(refused, 2)


def test_what_is_computed_in_float_here_is_told(small_run, tmp_path):
    """On x86 without VNNI, OpenVINO's int8; elsewhere there is nothing to tell."""
    done = export(small_run.folder / "onnx" / "int8-asymmetric.onnx", "x86-openvino", tmp_path)
    for reason in (json.loads(done.stdout)["reason"], small_run.run["targets"]["x86-openvino"]["reason"]):
        if host.INT8_ON_OPENVINO:
            assert reason is None
        else:
            assert "computed in float; for int8 here, export for x86-openvino-no-vnni" in reason
