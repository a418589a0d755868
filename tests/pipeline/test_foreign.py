"""`edgekd export` on files of other tools: proven bundles, or exit 2 and one line; the files stay as they are."""

import json
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.bundle import load_bundle
from edgekd.runner.bundle import write_arrays
from tests.factories import Net, quantize
from tests.onnx_import.recurrent import recurrent, scaled, steps_of_one
from tests.quantization.onnx_models import random
from tests.small_run import EXECUTED, complaint, edgekd


def float_net(batch="batch", opset=21):
    """A small convolutional classifier whose head moves by more than eight steps, and its inputs."""
    net = Net(0, (3, 12, 12))
    x = net.relu(net.conv("input", 3, 8, strides=[2, 2]))
    x = net.op("Reshape", net.op("GlobalAveragePool", net.relu(net.conv(x, 8, 8))), net.constant([-1, 8], np.int64))
    model = net.model(net.gemm(x, 8, 4))
    shape = model.graph.input[0].type.tensor_type.shape
    shape.dim[0].CopyFrom(helper.make_tensor_value_info("", 1, [batch]).type.tensor_type.shape.dim[0])
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.opset_import[0].version = opset
    return model, net.inputs(96)


@pytest.fixture
def files(tmp_path):
    model, inputs = float_net()
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", input=inputs)
    return tmp_path


def export(folder, target="x86-onnxruntime", *arguments, calibration="x.npz"):
    data = ["--calibration", folder / calibration] if calibration else []
    return edgekd("export", folder / "m.onnx", "--target", target, "--out", folder / "out", "--json", *data, *arguments)


def test_tensors_may_be_called_what_numpy_calls_its_options(files):
    model = onnx.load(files / "m.onnx")
    (last,) = model.graph.output
    for node in model.graph.node:
        node.input[:] = ["file" if name == "input" else name for name in node.input]
        node.output[:] = ["allow_pickle" if name == last.name else name for name in node.output]
    model.graph.input[0].name, last.name = "file", "allow_pickle"
    (files / "m.onnx").write_bytes(model.SerializeToString())
    with np.load(files / "x.npz") as stored:
        write_arrays(files / "x.npz", {"file": stored["input"]})
    report = json.loads(export(files).stdout)
    assert report["status"] == "ok"
    assert [row["output"] for row in report["parity"]] == ["allow_pickle"] * 2


def refusal(folder, *arguments, **options):
    before = (folder / "m.onnx").read_bytes()
    message = complaint(export(folder, *arguments, **options), 2)
    assert (folder / "m.onnx").read_bytes() == before
    assert not (folder / "out").exists() or not any((folder / "out").iterdir())
    return message


def change(folder, edit):
    model = onnx.load(folder / "m.onnx")
    edit(model)
    (folder / "m.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("target", EXECUTED)
def test_a_foreign_float_model_is_proven(files, target):
    """Opset 13, a batch of 1 built in, initialisers that are inputs, constants behind Identity, external data."""
    model, _ = float_net(batch=1, opset=13)
    weight = model.graph.initializer[0]
    model.graph.node.insert(0, helper.make_node("Identity", [weight.name], ["alias"]))
    model.graph.node[1].input[1] = "alias"
    model.graph.input.append(helper.make_tensor_value_info(weight.name, 1, weight.dims))
    onnx.save(model, files / "m.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    before = [(files / name).read_bytes() for name in ("m.onnx", "weights", "x.npz")]
    done = export(files, target)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "ok", report["reason"]
    assert [row["batch"] for row in report["parity"]] == [1, 8]
    assert [(files / name).read_bytes() for name in ("m.onnx", "weights", "x.npz")] == before
    assert load_bundle(files / "out" / f"m-{target}").inputs[0].shape[0] is None


@pytest.mark.parametrize("target", EXECUTED)
def test_a_state_whose_batch_is_second_comes_and_goes(tmp_path, target):
    onnx.save(recurrent("n", layers=2), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=random(64, 6), h=random(2, 64, 4, seed=1))
    done = export(tmp_path, target)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "ok", report["reason"]
    moved = [f"batch first here, not where the model has it: {name!r} (at 1)" for name in ("h", "hn")]
    assert report["notes"][:2] == moved
    manifest = load_bundle(tmp_path / "out" / f"m-{target}")
    assert {spec.name: spec.shape for spec in manifest.inputs} == {"x": (None, 6), "h": (None, 2, 4)}
    assert {spec.name: spec.shape for spec in manifest.outputs} == {"y": (None, 3), "hn": (None, 2, 4)}


def test_a_batch_that_cannot_be_freed_is_proven_and_timed_as_it_is(tmp_path):
    """A recurrent net whose first dimension is time: two samples at once would be two steps of one."""
    onnx.save(steps_of_one(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=random(64, 1, 6))
    done = export(tmp_path)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "ok", report["reason"]
    assert [row["batch"] for row in report["parity"]] == [1]
    assert report["notes"][0].startswith("it takes batches of 1 alone, which are built in: export it with a dynamic")
    bundle = tmp_path / "out" / "m-x86-onnxruntime"
    assert load_bundle(bundle).inputs[0].shape == (1, 1, 6)
    assert edgekd("verify", bundle).exit_code == 0
    assert edgekd("bench", bundle, "--seconds", "0.01", "--replicates", "1").exit_code == 0
    assert "it takes batches of 1 alone, not 4" in complaint(edgekd("bench", bundle, "--batch", "4"), 2)


def test_an_input_without_a_batch_can_be_set(tmp_path):
    model = scaled(TensorProto.FLOAT)
    model.graph.input[1].type.tensor_type.shape.Clear()
    model.graph.node[2].input[1] = model.graph.node[2].input[0]
    del model.graph.node[2]
    model.graph.node[2].input[1] = "f"
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=random(64, 6), by=np.full(64, 3))
    assert "bake it in with --set by=VALUE" in refusal(tmp_path)
    done = export(tmp_path, "x86-onnxruntime", "--set", "by=3")
    assert done.exit_code == 0, done.stderr
    assert [spec.name for spec in load_bundle(tmp_path / "out" / "m-x86-onnxruntime").inputs] == ["x"]


@pytest.mark.parametrize("target", EXECUTED)
def test_a_foreign_qdq_model_of_int8_activations_is_proven(files, target):
    model, inputs = float_net()
    quantised = quantize(model, inputs)
    for tensor in quantised.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.uint8:
            tensor.CopyFrom(numpy_helper.from_array((value.astype(int) - 128).astype(np.int8), tensor.name))
    quantised.metadata_props.clear()
    onnx.save(quantised, files / "m.onnx")
    done = export(files, target, calibration=None if target == "x86-onnxruntime" else "x.npz")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"


def test_samples_in_another_format_than_the_models_own_quantiser_are_refused(files):
    """The model rounds 0…1, or whatever it was made for; pixels from 0 to 255 would all be its largest value."""
    model, inputs = float_net()
    onnx.save(quantize(model, inputs), files / "m.onnx")
    np.savez(files / "x.npz", input=inputs * 255)
    message = refusal(files)
    assert "the model's own quantiser covers" in message
    assert "another number format?" in message


def test_how_a_float_model_is_calibrated_is_the_users_choice(files):
    """Each option gives another bundle."""
    given = {"--ranges": "minmax", "--equalize": False, "--correct-bias": False}
    models = set()
    for change in ({}, {"--ranges": "mse"}, {"--equalize": True}, {"--correct-bias": True}, {"--keep-float": "*"}):
        options = [(f"--no-{key[2:]}",) if on is False else (key,) if on is True else (key, on)
                   for key, on in (given | change).items()]  # fmt: skip
        done = export(files, "jetson-orin-nano", *(word for option in options for word in option))
        assert done.exit_code == 4, done.stderr
        models.add(load_bundle(files / "out" / "m-jetson-orin-nano").files["model.onnx"].sha256)
    assert len(models) == 5
    wrong = complaint(export(files, "jetson-orin-nano", "--ranges", "percentil"), 2)
    assert "did you mean 'percentile'" in wrong


@pytest.mark.long
def test_layers_stay_in_float_by_what_they_cost_here(files):
    """What is predicted is measured, in turns with int8; of so small a network all layers may be faster in float."""
    mixed = json.loads(export(files, "x86-onnxruntime", "--no-bench", "--mixed", 41).stdout)
    assert mixed["status"] == "ok"
    assert mixed["mixed"]["int8_db"] < 41 <= mixed["mixed"]["db"]
    kept = len(mixed["mixed"]["kept"])
    assert 0 < kept <= 3
    assert mixed["layers_int8"] == [3 - kept, kept]
    assert min(mixed["mixed"][f"{name}_us"] for name in ("int8", "predicted", "measured")) > 0
    assert any(note.startswith(f"{kept} layers in float by what they cost here") for note in mixed["notes"])


def test_what_mixed_cannot_be_is_one_line(files):
    too_near = complaint(export(files, "x86-onnxruntime", "--mixed", 400), 2)
    assert "not even with all layers" in too_near
    assert float(too_near.rpartition(" --mixed ")[2]) < 400
    assert "computes no layer in float" in complaint(export(files, "tflm-cortex-m", "--mixed", 30), 2)


def test_a_quantised_model_keeps_its_scales_whatever_is_asked(files):
    onnx.save(quantize(*float_net()), files / "m.onnx")
    assert "are for float models" in refusal(files, "x86-onnxruntime", "--ranges", "mse")
    assert "are for float models" in refusal(files, "x86-onnxruntime", "--keep-float", "*")


def test_the_layers_that_lose_most_are_named(files):
    page = files / "layers.html"
    report = json.loads(export(files, "jetson-orin-nano", "--html", page).stdout)
    assert {node["layer"] for node in report["graph"]} >= {row["layer"] for row in report["layers"]}
    assert page.read_text().count("<title>") == 1 + len(report["graph"])
    lost = [row["lost_db"] for row in report["layers"]]
    assert lost == sorted(lost, reverse=True)
    assert {row["kind"] for row in report["layers"]} >= {"Conv", "Gemm"}
    assert all(row["sqnr_db"] > 15 for row in report["layers"])  # 8 bits over four layers
    quantised = files / "out" / "m-jetson-orin-nano" / "model.onnx"
    assert "lost here" in edgekd("export", quantised, "--target", "jetson-orin-nano", "--layers").stdout


def test_free_dimensions_come_from_the_data_or_from_an_option(files):
    def free(model):
        for dim in list(model.graph.input[0].type.tensor_type.shape.dim)[2:]:
            dim.dim_param = "any"

    change(files, free)
    assert export(files).exit_code == 0
    onnx.save(quantize(*float_net()), files / "m.onnx")
    change(files, free)
    advice = complaint(export(files, calibration=None), 2)
    assert "free dimensions: fix them with --shape input=1,3,?,?" in advice
    assert export(files, "x86-onnxruntime", "--shape", "input=1,3,12,12", calibration=None).exit_code == 0
    wrong = complaint(export(files, "x86-onnxruntime", "--shape", "input=1,3", calibration=None), 2)
    assert "does not fit" in wrong


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((8, 12, 12, 3), np.float32), r"input has shape (8, 12, 12, 3); the model takes (batch, 3, 12, 12)"),
        (np.zeros((8, 3, 12), np.float32), "the model takes (batch, 3, 12, 12)"),
        (np.zeros((0, 3, 12, 12), np.float32), "at least one sample"),
        (np.zeros((8, 3, 12, 12), np.float32), "every value is the same: calibration needs real inputs"),
        (np.full((8, 3, 12, 12), np.inf, np.float32), "values that are not finite"),
        (np.full((8, 3, 12, 12), 1e300), "values that are not finite"),  # in float32
        (np.zeros((8, 3, 12, 12), np.int64), "input is int64; model inputs are float32, already preprocessed"),
        (np.array(["a"] * 8), "input is <U1"),
        (np.full((8, 3, 12, 12), 1j, np.complex64), "input is complex64"),
    ],
)
def test_calibration_data_that_do_not_fit(files, value, words):
    np.savez(files / "x.npz", input=value)
    assert words in refusal(files)


def test_what_is_no_npz_of_arrays(files):
    np.savez(files / "x.npz", input=np.array([{}]))
    assert "x.npz: not a readable npz file" in refusal(files)
    with zipfile.ZipFile(files / "x.npz", "w") as archive:
        archive.writestr("input.npy", b"bytes of another kind")  # found by fuzzing: they came out as bytes
    assert "x.npz: not a readable npz file: 'input' is no array" in refusal(files)
    (files / "x.npz").write_bytes(b"PK\x03\x04" + bytes(50))
    assert "x.npz: not a readable npz file" in refusal(files)
    np.save(files / "y.npy", np.zeros(3))
    assert "np.savez keeps several by name" in refusal(files, calibration="y.npy")


@pytest.mark.parametrize("shape", ["(274877906944,)", "(4", "(4,)" * 2000, "[]", "(-1,)", "(" * 500])
def test_an_array_whose_header_lies_is_refused(files, shape):
    """A terabyte promised in sixteen bytes; and what numpy's parser raised as TokenError."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)
    with zipfile.ZipFile(files / "x.npz", "w") as archive:
        archive.writestr("input.npy", content)
    assert "x.npz: not a readable npz file" in refusal(files)


def test_a_tensor_that_never_moves_is_quantised(files):
    """A dead branch: its range is zero, its scale the smallest there is; the rest is as good as ever."""

    def kill(model):
        weight = model.graph.initializer[0]
        weight.CopyFrom(numpy_helper.from_array(np.zeros(list(weight.dims), np.float32), weight.name))

    change(files, kill)
    done = export(files, "x86-onnxruntime", "--no-simplify")
    assert done.exit_code == 4, done.stderr
    assert json.loads(done.stdout)["status"] == "unverified"


def test_an_unknown_operator_is_named(files):
    def edit(model):
        model.opset_import.append(helper.make_opsetid("own", 1))
        model.graph.node.append(helper.make_node("Warp", ["logits"], ["z"], name="odd", domain="own"))
        model.graph.output[0].name = "z"

    change(files, edit)
    assert "Warp 'odd' is an operator of 'own', which no backend has" in refusal(files)


def test_an_operator_without_a_form_on_the_target_names_those_that_have_one(files):
    def edit(model):
        model.graph.node.append(helper.make_node("Sinh", ["logits"], ["z"], name="odd"))
        model.graph.output[0].name = "z"

    change(files, edit)
    message = refusal(files, "x86-tflite")
    assert "odd" in message
    assert "Sinh" in message
    assert "these targets take it: x86-onnxruntime, x86-openvino" in message
    command = message.partition(" · next: ")[2]
    assert command.startswith(f"edgekd export {files / 'm.onnx'} --out {files / 'out'} --json --calibration")
    assert command.endswith(" --target x86-onnxruntime")


def with_inputs_of(kind):
    def edit(model):
        model.graph.input[0].type.tensor_type.elem_type = kind
        model.graph.node.insert(0, helper.make_node("Cast", ["input"], ["cast"], to=1))
        model.graph.node[1].input[0] = "cast"

    return edit


def test_inputs_of_another_type_are_refused(files):
    change(files, with_inputs_of(TensorProto.STRING))
    assert "input 'input' is object: export the model with float32 or integer tensors" in refusal(files)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_inputs_of_other_floats_are_taken_in_float32(files, kind):
    change(files, with_inputs_of(kind))
    done = export(files)
    assert done.exit_code == 0, done.stderr
    assert load_bundle(files / "out" / "m-x86-onnxruntime").inputs[0].dtype == "float32"


def test_integers_are_taken_as_they_are(files):
    net = Net(0, (6,))
    table = net.constant(net.rng.normal(0, 1, (10, 8)))
    x = net.op("ReduceMean", net.op("Gather", table, "input"), net.constant([1], np.int64), keepdims=0)
    logits = net.gemm(x, 8, 4)
    net.nodes[0].input[1] = "tokens"
    graph = helper.make_graph(
        [*net.nodes],
        "net",
        [helper.make_tensor_value_info("tokens", 7, ["n", 6])],
        [helper.make_tensor_value_info(logits, 1, ["n", 4])],
        [numpy_helper.from_array(value, name) for name, value in net.constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), files / "m.onnx")
    np.savez(files / "x.npz", tokens=np.random.default_rng(0).integers(0, 10, (96, 6), np.int32))
    done = export(files)
    assert done.exit_code == 0, done.stderr
    np.savez(files / "x.npz", tokens=np.full((4, 6), 10))
    assert "cannot run on these inputs" in complaint(export(files), 2)
    np.savez(files / "x.npz", tokens=np.full((4, 6), 2**63, np.uint64))
    assert "tokens holds values that int64 cannot" in complaint(export(files), 2)
    np.savez(files / "x.npz", tokens=np.zeros((4, 6), np.float32))
    assert "tokens is float32; the model takes int64" in complaint(export(files), 2)


@pytest.mark.parametrize("end", [0, 1, 100, 2000, -1])
def test_a_truncated_model_is_refused(files, end):
    content = (files / "m.onnx").read_bytes()
    (files / "m.onnx").write_bytes(content[:end])
    assert "m.onnx: " in refusal(files)


def test_more_than_two_gigabytes(files):
    with (files / "m.onnx").open("r+b") as file:
        file.truncate(2**31 + 2**20)
    message = complaint(export(files), 2)
    assert "2.0 GB of model, and ONNX holds 2 GB" in message
