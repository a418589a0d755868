"""A microcontroller's bundle on the host: proven and scored by TFLite-Micro's kernels, never timed."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd.backends.assemble import write_bundle
from edgekd.backends.layers import prove_layers
from edgekd.backends.reference import Reference
from edgekd.bundle import Preprocessing, load_bundle
from edgekd.data.dataset import Dataset, Split
from edgekd.devices import open_device
from edgekd.measure import predict
from edgekd.pipeline.bench import bench_bundles
from edgekd.pipeline.deploy import DeployContext, deploy
from edgekd.pipeline.stages import Stages
from edgekd.pipeline.verify import verify_bundle
from edgekd.progress import SILENT
from edgekd.recipe import Recipe
from edgekd.target import load_target
from tests import factories
from tests.export.runner import failure, run

TARGET = load_target("tflm-cortex-m")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, model = tmp_path_factory.mktemp("micro") / "bundle", factories.qdq_dscnn()
    inputs = {"input": factories.inputs_for(model, 40)}
    write_bundle(model, TARGET, folder, "int8", name="net", inputs=inputs, outputs=Reference(model).run(inputs))
    return folder


def test_build_tells_kernels_and_memory(bundle: Path) -> None:
    code, records = run("build", bundle)
    assert (code, [record["record"] for record in records]) == (0, ["start", "load", "kernels", "footprint", "end"])
    assert (records[2]["int8"], records[2]["total"]) == (6, 6)
    assert records[2]["ops"] == {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 1, "MEAN": 1, "RESHAPE": 1}
    measured = {key: records[3][key] for key in ("arena_bytes", "flash_bytes", "macs")}
    assert measured == load_bundle(bundle).footprint
    assert measured["flash_bytes"] == (bundle / "model.tflite").stat().st_size


def test_bench_claims_no_latency_but_scores(bundle: Path, tmp_path: Path) -> None:
    code, records = run("bench", bundle)
    assert (code, [record["record"] for record in records]) == (0, ["start", "load", "footprint", "end"])
    (row,) = bench_bundles([bundle])
    assert row["arena_bytes"] == records[2]["arena_bytes"]
    assert "no latency is claimed" in row["executed"]
    assert "p50" not in row
    data = tmp_path / "data.npz"
    np.savez(data, x=np.zeros((4, 1, 25, 10), np.float32), y=np.zeros(4, np.int64))
    (row,) = bench_bundles([bundle], data=data)
    assert 0 <= row["accuracy"] <= 1


def test_verify_holds_within_four_steps(bundle: Path) -> None:
    assert verify_bundle(bundle)["ok"]
    golden = next(record for record in run("verify", bundle)[1] if record["record"] == "golden")
    assert golden["max_steps"] <= 4


def test_another_batch_size_is_refused(bundle: Path) -> None:
    code, kind, message = failure("verify", bundle, "--batch", "8")
    assert (code, kind) == (2, "bad-input")
    assert "one batch size" in message


def test_a_host_without_the_interpreter_is_told(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "tflite_micro.py").touch()
    code, kind, message = failure("verify", bundle, shadow=tmp_path)
    assert (code, kind) == (3, "missing-runtime")
    assert "pip install --pre tflite-micro" in message


def test_predictions_are_stored_integers_for_any_number_of_samples(bundle: Path, tmp_path: Path) -> None:
    with np.load(bundle / "golden.npz") as golden:
        inputs, expected = golden["input:input"][:5], golden["output:logits"][:5]
    np.savez(tmp_path / "in.npz", input=inputs)
    code, _ = run("predict", bundle, "--input", f"{tmp_path}/in.npz", "--output", f"{tmp_path}/out.npz")
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs["logits"].dtype == np.int8
        assert np.abs(outputs["logits"].astype(int) - expected).max() <= 4
    assert code == 0


def test_every_layer_is_within_a_step_though_showing_all_takes_more_memory_than_there_is() -> None:
    model = factories.qdq_dscnn()
    tight = TARGET.model_copy(update={"limits": TARGET.limits.model_copy(update={"memory_mb": 0.006})})
    device = open_device("local:")
    inputs = {"input": factories.inputs_for(model, 16)}
    proof = prove_layers(model, tight, inputs, lambda folder, stored, batch: predict(device, folder, stored, batch))
    assert proof is not None
    assert (proof.fault, proof.same) == (None, True)


def test_a_run_scores_it_there_and_says_what_was_executed(tmp_path: Path) -> None:
    graphs = {"float": factories.float_dscnn(), TARGET.scheme: factories.qdq_dscnn()}
    for scheme, graph in graphs.items():
        onnx.save(graph, tmp_path / f"{scheme}.onnx")
    x = factories.inputs_for(graphs["float"], 96)
    samples = Split(x, Reference(graphs["float"]).run({"input": x})["logits"].argmax(1))
    train, val, test = (samples.take(part) for part in np.split(np.arange(len(x)), [8, 56]))
    data = Dataset("made", train, val, test, tuple("abcdefghijkl"), Preprocessing())
    paths = {scheme: tmp_path / f"{scheme}.onnx" for scheme in graphs}
    context = DeployContext(recipe(), data, Stages(tmp_path / "run", SILENT), SILENT, paths, {})
    found = deploy(context, TARGET, {"float": 1.0, TARGET.scheme: 0.95}, timed=True)
    assert (found.status, found.metric_source) == ("ok", "device"), found.reason
    assert "no latency is claimed of a microcontroller" in (found.reason or "")
    assert [row.batch for row in found.parity] == [1]
    assert found.variants.keys() == {"int8"}
    assert found.variants["int8"].latency_ms is None
    assert found.footprint == load_bundle(tmp_path / "run" / "bundles" / TARGET.name).footprint
    assert isinstance(found.metric, float)
    assert found.metric >= 0.9  # of what the float net answers; 48 samples, some of them near a border


def recipe() -> Recipe:
    network = {"model": "ds-cnn"}
    document = {"name": "made", "data": {"name": "made"}, "teacher": network, "student": network}
    document |= {"distillation": [{"method": "kd"}], "targets": [TARGET.name], "devices": {TARGET.name: "local:"}}
    return Recipe.parse(document, "the test")
