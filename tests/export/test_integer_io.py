"""A bundle whose inputs and outputs are integers: values travel as stored, and a step is the output's own scale."""

from pathlib import Path

import numpy as np
import pytest

from edgekd.backends import find_backend
from edgekd.bundle import Manifest, TensorSpec, identify
from edgekd.target import Target
from tests import factories
from tests.export.runner import run
from tests.measure.bundles import Array, laid_out


def stored(values: Array, spec: TensorSpec) -> Array:
    assert spec.scale is not None
    assert spec.zero_point is not None
    return np.clip(np.rint(values / np.float32(spec.scale)) + spec.zero_point, -128, 127).astype(spec.dtype)


@pytest.fixture(scope="module")
def integer_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("integer")
    model = factories.qdq_resnet()
    target = Target(name="t", title="t", backend="tflite", scheme="int8-asymmetric", io="int8")
    compiled = find_backend("tflite").compile(model, target, folder, "int8")
    (source,), (result,) = compiled.inputs, compiled.outputs
    x = factories.inputs_for(model, 16)
    inputs = stored(laid_out(x, source.layout), source)
    outputs = stored(factories.reference(model, x)["logits"], result)
    np.savez(folder / "golden.npz", **{f"input:{source.name}": inputs, f"output:{result.name}": outputs})
    manifest = Manifest(
        name="net", target="t", backend="tflite", scheme="int8-asymmetric", precision="int8", batch=1, threads=1,
        model=compiled.model, inputs=compiled.inputs, outputs=compiled.outputs,
        files=identify(folder, [*compiled.files, "golden.npz"]), tolerance={"max_steps": 2.0, "agreement": 0.99},
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def test_steps_are_whole_numbers_of_the_outputs_scale(integer_bundle: Path) -> None:
    code, records = run("verify", integer_bundle)
    assert code == 0
    assert records[2]["max_steps"] == int(records[2]["max_steps"]) <= 2  # XNNPACK rounds ties its own way


def test_predictions_are_stored_integers(integer_bundle: Path, tmp_path: Path) -> None:
    with np.load(integer_bundle / "golden.npz") as archive:
        np.savez(tmp_path / "in.npz", input=archive["input:input"])
        expected = archive["output:logits"]
    code, _ = run("predict", integer_bundle, "--input", f"{tmp_path}/in.npz", "--output", f"{tmp_path}/out.npz")
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs["logits"].dtype == np.int8
        assert np.abs(outputs["logits"].astype(int) - expected).max() <= 2
    assert code == 0
