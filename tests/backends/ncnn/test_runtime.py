"""Bundles and lone files through the runner that leaves with them, in a process of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from tests import factories
from tests.backends.ncnn.harness import TARGET, build, network
from tests.export.runner import run
from tests.measure.bundles import rehash
from tests.small_run import edgekd

QUICK = ("--replicates=1", "--seconds=0.01", "--count=3", "--json")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, folder = network("resnet"), tmp_path_factory.mktemp("ncnn") / "bundle"
    inputs = {"input": factories.inputs_for(model)}
    write_bundle(model, TARGET, folder, "int8", name="n", inputs=inputs, outputs=Reference(model).run(inputs))
    return folder


def test_a_bundle_is_proven_at_any_batch(bundle: Path) -> None:
    """At batch 8 its 32 samples go through one by one, as at 1."""
    code, records = run("verify", bundle, "--batch", "8")
    found = {record["record"]: record for record in records}
    assert code == 0
    assert found["golden"]["max_steps"] == 0
    assert found["load"]["details"] == {"precision": "f32"}


def test_a_lone_file_is_timed_layer_by_layer(bundle: Path, tmp_path: Path) -> None:
    for name in ("model.param", "model.bin"):
        shutil.copy(bundle / name, tmp_path / name)
    done = edgekd("profile", tmp_path / "model.param", "--runs", 5, "--json")
    found = json.loads(done.stdout)
    layers = {layer["layer"]: layer for layer in found["layers"]}
    weighted = [layer.name for layer in build(network("resnet")).layers if layer.kind == "Convolution"]
    assert len(weighted) == 9
    assert {layers[name]["precision"] for name in weighted} == {"int8"}
    assert found["latency_us"] > 0


def test_a_lone_file_is_benched(bundle: Path, tmp_path: Path) -> None:
    for name in ("model.param", "model.bin"):
        shutil.copy(bundle / name, tmp_path / name)
    (row,) = json.loads(edgekd("bench", tmp_path / "model.param", *QUICK).stdout)
    assert (row["runtime"].partition(" ")[0], row["batch"]) == ("Ncnn", 1)
    assert 0 < row["p50"] < 1000


def test_what_is_no_param_file_is_one_line(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    (broken / "model.param").write_text("7767517\n1 1\nInput\n")
    rehash(broken)
    code, records = run("build", broken)
    assert code == 2
    assert "no .param file of ncnn" in records[-1]["error"]


def test_outputs_without_dimensions_have_their_shape() -> None:
    """A number for each sample is a vector of one in ncnn."""
    net = factories.Net(0, (3, 4, 4))
    axes = net.constant([1, 2, 3], np.int64)
    model, x = net.model(net.op("ReduceMean", "input", axes, keepdims=0)), net.inputs(5)
    assert build(model, "float").run(x)["logits"].shape == factories.reference(model, x)["logits"].shape == (5,)
