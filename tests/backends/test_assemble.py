"""A bundle is whole, hashed, small enough, and replaces only a bundle."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekd.backends.assemble import write_bundle, write_golden
from edgekd.backends.onnxruntime.runtime import EXACT
from edgekd.backends.reference import Reference
from edgekd.backends.replaced_folder import replaced_folder
from edgekd.bundle import Manifest, Preprocessing, TensorSpec, load_bundle
from edgekd.errors import BadInputError
from edgekd.reporting.card import Card, card_text
from edgekd.reporting.run_record import RunRecord
from edgekd.target import load_target
from tests import factories

Inputs = dict[str, np.ndarray[Any, Any]]
LABELS = tuple("abcdefghij")


@pytest.fixture(scope="module")
def quantised() -> onnx.ModelProto:
    return factories.qdq_resnet()


@pytest.fixture(scope="module")
def inputs(quantised: onnx.ModelProto) -> Inputs:
    return {"input": factories.inputs_for(quantised, 40)}


@pytest.fixture
def write(quantised: onnx.ModelProto, inputs: Inputs, tmp_path: Path) -> Callable[..., Manifest]:
    def written(backend: str = "onnxruntime", model: onnx.ModelProto = quantised, **more: Any) -> Manifest:
        io = more.pop("io", "float")
        target = load_target(f"x86-{backend}").model_copy(update={"io": io, "batch": 2, "runtime": {}})
        samples = more.pop("inputs", inputs)
        arguments = {"name": "net", "inputs": samples, "outputs": Reference(model).run(samples)} | more
        return write_bundle(model, target, tmp_path / "bundle", arguments.pop("precision", "int8"), **arguments)

    return written


def test_what_is_written_is_what_is_read(write: Callable[..., Manifest], tmp_path: Path) -> None:
    normal = Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,))
    manifest = write(preprocessing=normal, labels=LABELS, provenance={"seed": 3}, metrics={"accuracy": 0.9})
    assert load_bundle(tmp_path / "bundle") == manifest
    assert set(manifest.files) == {"model.onnx", "golden.npz", "run.py", "README.md"}
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == sorted({*manifest.files, "manifest.json"})
    assert (manifest.name, manifest.target, manifest.backend) == ("net", "x86-onnxruntime", "onnxruntime")
    assert (manifest.precision, manifest.batch, manifest.scheme) == ("int8", 2, "int8-asymmetric")
    assert manifest.inputs[0].preprocessing == normal
    assert manifest.outputs[0].labels == LABELS
    assert manifest.tolerance == {"max_steps": 2.0, "agreement": 0.99}
    assert (manifest.provenance, manifest.metrics) == ({"seed": 3}, {"accuracy": 0.9})
    assert "net: int8 for x86-onnxruntime" in (tmp_path / "bundle/README.md").read_text()


def test_the_readme_names_the_package_that_has_the_provider(
    quantised: onnx.ModelProto, inputs: Inputs, tmp_path: Path
) -> None:
    target = load_target("x86-onnxruntime").model_copy(update={"runtime": {"provider": "openvino"}})
    outputs = Reference(quantised).run(inputs)
    write_bundle(quantised, target, tmp_path / "b", "int8", name="net", inputs=inputs, outputs=outputs)
    assert "numpy and onnxruntime-openvino.\n" in (tmp_path / "b/README.md").read_text()


def test_what_an_app_has_to_set_is_in_readme_and_card(write: Callable[..., Manifest], tmp_path: Path) -> None:
    """Not where nothing saturates: in float, and with weights to ±63."""
    told = f"an app that opens `model.onnx` itself has to set the session option `{EXACT}` to `1`"
    readme = tmp_path / "bundle/README.md"
    int8, said = write(), readme.read_text()
    bundles = {"a": int8, "b": write(precision="float"), "c": int8.model_copy(update={"scheme": "int8-asymmetric-w7"})}
    assert (told in said, told in readme.read_text()) == (True, False)
    text = card_text(Card(license="mit", data_license="mit"), RunRecord.of({}), bundles)
    assert f"\n- `bundles/a`: On an x86 CPU without VNNI, {told}: sums" in text


def test_classes_have_to_agree_only_where_they_are_known(write: Callable[..., Manifest]) -> None:
    """An output (N, 10) may as well be an embedding: what says nothing of its task is judged by distance alone."""
    manifest = write()
    assert manifest.outputs[0].labels is None
    assert manifest.tolerance == {"max_steps": 2.0}


def test_the_same_model_gives_the_same_manifest(write: Callable[..., Manifest]) -> None:
    assert write() == write()


def test_golden_holds_32_samples_and_the_reference(
    write: Callable[..., Manifest], quantised: onnx.ModelProto, inputs: Inputs, tmp_path: Path
) -> None:
    write()
    with np.load(tmp_path / "bundle/golden.npz") as golden:
        np.testing.assert_array_equal(golden["input:input"], inputs["input"][:32])
        expected = Reference(quantised).run({"input": inputs["input"][:32]})["logits"]
        np.testing.assert_array_equal(golden["output:logits"], expected)


def test_golden_is_in_the_layout_and_types_of_the_bundle(write: Callable[..., Manifest], tmp_path: Path) -> None:
    manifest = write("tflite", io="int8")
    with np.load(tmp_path / "bundle/golden.npz") as golden:
        assert golden["input:input"].shape == (32, 16, 16, 3)
        assert golden["input:input"].dtype == golden["output:logits"].dtype == np.int8
    (logits,) = manifest.outputs
    assert logits.step == logits.scale


def test_golden_stays_below_4_mb(write: Callable[..., Manifest], tmp_path: Path) -> None:
    net = factories.Net(0, (3, 256, 256))
    large = net.model(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", "input")), 3, 10))
    samples = {"input": net.inputs(8)}  # 786 kB each
    write(model=large, inputs=samples, precision="float")
    assert (tmp_path / "bundle/golden.npz").stat().st_size <= 4_000_000
    with np.load(tmp_path / "bundle/golden.npz") as golden:
        assert len(golden["input:input"]) == 5


def test_the_step_of_a_quantised_output_is_its_scale(
    write: Callable[..., Manifest], quantised: onnx.ModelProto
) -> None:
    scales = {t.name: t for t in quantised.graph.initializer}
    dequantize = next(node for node in quantised.graph.node if "logits" in node.output)
    (scale,) = onnx.numpy_helper.to_array(scales[dequantize.input[1]]).reshape(1)
    assert write().outputs[0].step == scale


def test_the_step_of_a_float_output_is_its_range(write: Callable[..., Manifest], inputs: Inputs) -> None:
    model = factories.float_resnet()
    reference = Reference(model).run(inputs)["logits"]
    manifest = write(model=model, precision="float")
    assert manifest.precision == "float"
    assert manifest.outputs[0].step == pytest.approx(float(np.ptp(reference)) / 255)


def test_labels_need_an_output_of_their_number(write: Callable[..., Manifest]) -> None:
    with pytest.raises(BadInputError, match="9 labels, but no output has 9 columns"):
        write(labels=LABELS[:9])


def test_golden_needs_a_sample(write: Callable[..., Manifest], inputs: Inputs, tmp_path: Path) -> None:
    none = {"input": inputs["input"][:0]}
    with pytest.raises(BadInputError, match="golden sample"):
        write(inputs=none, outputs={"logits": np.zeros((0, 10), np.float32)})
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_replaced_as_a_whole(write: Callable[..., Manifest], tmp_path: Path) -> None:
    write("openvino")
    (tmp_path / "bundle/engine.plan").write_bytes(b"made on the device from the old model")
    write("onnxruntime")
    assert {path.name for path in tmp_path.iterdir()} == {"bundle"}
    assert not (tmp_path / "bundle/model.xml").exists()
    assert not (tmp_path / "bundle/engine.plan").exists()
    load_bundle(tmp_path / "bundle")


def test_a_failure_leaves_the_old_bundle(
    write: Callable[..., Manifest], quantised: onnx.ModelProto, tmp_path: Path
) -> None:
    before = write()
    broken = onnx.ModelProto()
    broken.CopyFrom(quantised)
    broken.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "n"
    with pytest.raises(BadInputError):
        write(model=broken)
    assert load_bundle(tmp_path / "bundle") == before
    assert {path.name for path in tmp_path.iterdir()} == {"bundle"}


def test_a_folder_that_is_no_bundle_is_not_replaced(write: Callable[..., Manifest], tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    write()  # an empty folder is fine
    (tmp_path / "bundle/manifest.json").unlink()
    with pytest.raises(BadInputError, match="is not a bundle"):
        write()
    assert (tmp_path / "bundle/model.onnx").exists()


def test_the_manifest_is_plain_json(write: Callable[..., Manifest], tmp_path: Path) -> None:
    write()
    document = json.loads((tmp_path / "bundle/manifest.json").read_text())
    assert document["format"] == 1
    assert document["inputs"][0]["shape"] == [None, 3, 16, 16]


def test_what_a_killed_process_left_is_swept_and_what_it_had_moved_away_comes_back(
    write: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest, folder = write(), tmp_path / "bundle"
    left, elsewhere = tmp_path / ".bundle.abcd_123", tmp_path / ".bundle.x"
    (left / "new").mkdir(parents=True)
    elsewhere.mkdir()
    folder.rename(left / "old")  # killed between the two renames
    with pytest.raises(RuntimeError), replaced_folder(folder):
        raise RuntimeError
    assert load_bundle(folder) == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == [elsewhere.name, "bundle"]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "bundle") as first:
        with replaced_folder(tmp_path / "bundle") as second:
            assert first.is_dir()
            (second / "manifest.json").write_text("second")
        (first / "manifest.json").write_text("first")
    assert (tmp_path / "bundle" / "manifest.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_replacement_within_another_does_not_wait_for_it(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "bundle") as outer, replaced_folder(outer) as inner:
        (inner / "manifest.json").write_text("whole")
    assert (tmp_path / "bundle" / "manifest.json").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("values", "samples", "kept"),
    [(99_990, 40, 9), (100, 40, 32), (100, 5, 5), (31_240, 40, 31), (31_200, 40, 32), (2_000_000, 3, 1)],
)
def test_golden_samples_are_as_many_as_32_and_4_mb_hold(
    write: Callable[..., Manifest], tmp_path: Path, values: int, samples: int, kept: int
) -> None:
    """Ten float32 outputs a sample, and 1 kB for the headers of each of two arrays."""
    x, y = (TensorSpec(name=name, dtype="float32", shape=(None, size)) for name, size in (("x", values), ("y", 10)))
    manifest = write().model_copy(update={"inputs": (x,), "outputs": (y,)})
    arrays = {"x": np.zeros((samples, values), np.float32)}, {"y": np.zeros((samples, 10), np.float32)}
    write_golden(tmp_path / "golden.npz", manifest, *arrays)
    with np.load(tmp_path / "golden.npz") as golden:
        assert len(golden["input:x"]) == len(golden["output:y"]) == kept
