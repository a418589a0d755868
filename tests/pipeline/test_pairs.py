"""The small_run of a student of pairs: tokens go in, embeddings come out, and Spearman is measured on the device."""

import json
import sys

import numpy as np
import pytest

from edgekd.bundle import load_bundle
from tests.pairs import LONGEST, VOCABULARY, load
from tests.small_run import complaint, edgekd

LENGTH = 12  # of the deployed model; no sequence is longer
TARGETS = ("x86-tflite", "x86-onnxruntime")
NETWORK = f"vocabulary = {VOCABULARY}, positions = {LONGEST}, width = 32, heads = 2"
RECIPE = f"""\
targets       = {list(TARGETS)}
length        = {LENGTH}
cross_entropy = 1.0

[data]
name = "tests.pairs:load"

[teacher]
model    = "transformer"
options  = {{ {NETWORK}, layers = 2 }}
training = {{ epochs = 0 }}

[student]
model    = "transformer"
options  = {{ {NETWORK}, layers = 1 }}
training = {{ epochs = 1, batch = 32, optimizer = "adamw" }}

[[distillation]]
method = "embedding"

[quantization]
epochs     = EPOCHS
batch      = 32
keep_float = KEEP_FLOAT

[benchmark]
replicates = 1
seconds    = 0.01
count      = 3

[devices]
x86-tflite      = "local:"
x86-onnxruntime = "local:"
"""


def recipe_of(epochs, keep_float):
    return RECIPE.replace("EPOCHS", str(epochs)).replace("KEEP_FLOAT", keep_float)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A finished run, calibrated, and its folder."""
    folder = tmp_path_factory.mktemp("pairs")
    recipe = folder / "pairs.toml"
    recipe.write_text(recipe_of(0, '["*softmax*", "add_*"]'))
    done = edgekd("run", recipe, "--out", folder / "run", "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout), folder / "run"


def test_spearman_is_measured_in_every_precision(pairs):
    run, _ = pairs
    assert run["metric_name"] == "spearman"
    labels = {"x86-tflite": {"int8", "float", "float16", "dynamic-range"}}
    labels["x86-onnxruntime"] = {"int8", "float", "dynamic-range"}
    for name in TARGETS:
        target = run["targets"][name]
        assert target["status"] == "ok", target["reason"]
        assert target["variants"].keys() == labels[name]
        for variant in target["variants"].values():
            # 32 pairs: int8 exchanges a few neighbours in rank; each of 31 places is worth less than 0.01
            assert variant["metric"]["mean"] == pytest.approx(run["float"]["metric"]["mean"], abs=0.05)
        assert target["variants"]["float"]["metric"]["mean"] == pytest.approx(run["float"]["metric"]["mean"], abs=1e-3)


def test_bundles_take_as_many_tokens_as_the_recipe_says(pairs):
    for name in TARGETS:
        manifest = load_bundle(pairs[1] / "bundles" / name)
        assert [source.shape for source in manifest.inputs] == [(None, LENGTH)]
        assert manifest.metrics.keys() == {"spearman"}
        assert manifest.tolerance.keys() == {"max_steps"}  # nothing is classified


@pytest.mark.parametrize("precision", ["", "-dynamic-range"])
def test_verify_takes_pairs_of_any_length(pairs, tmp_path, precision):
    run, folder = pairs
    test = load().test
    np.savez(tmp_path / "pairs.npz", x=test.inputs, y=test.labels)
    done = edgekd(
        "verify", folder / "bundles" / f"x86-onnxruntime{precision}", "--data", tmp_path / "pairs.npz", "--json"
    )
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    variant = run["targets"]["x86-onnxruntime"]["variants"][precision[1:] or "int8"]
    assert found["spearman"] == variant["metric"]["mean"]  # the same bundle on the same samples: exactly


@pytest.mark.parametrize("target", TARGETS)
def test_tokens_that_a_bundle_does_not_know_are_refused(pairs, tmp_path, target):
    test, bundle = load().test, pairs[1] / "bundles" / target
    test.inputs[3, 1] = VOCABULARY
    np.savez(tmp_path / "rare.npz", x=test.inputs, y=test.labels)
    said = complaint(edgekd("verify", bundle, "--data", tmp_path / "rare.npz"), 2)
    assert f"rare.npz: x holds the token {VOCABULARY}: the model knows {VOCABULARY}, from 0" in said


def test_scores_that_are_no_pairs_are_refused(pairs, tmp_path):
    test, bundle = load().test, pairs[1] / "bundles" / "x86-onnxruntime"
    np.savez(tmp_path / "odd.npz", x=test.inputs[1:], y=test.labels[1:])
    assert "must both carry the score" in complaint(edgekd("verify", bundle, "--data", tmp_path / "odd.npz"), 2)


@pytest.mark.parametrize(("place", "token", "words"), [(0, VOCABULARY, "tokens up to 64"), (15, 1, "(6, 20)")])
def test_tokens_that_a_network_does_not_know_are_found_before_training(tmp_path, monkeypatch, place, token, words):
    """One of all test samples has a token too many, or is too long."""
    (tmp_path / "rare.py").write_text(
        "from tests.pairs import load as pairs\n"
        f"def load():\n    data = pairs()\n    data.test.inputs[-1, {place}] = {token}\n    return data\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "rare", raising=False)
    recipe = tmp_path / "pairs.toml"
    recipe.write_text(recipe_of(0, "[]").replace("tests.pairs:load", "rare:load"))
    settings = [f"--set=student.options.positions={LENGTH}", f"--set=teacher.options.positions={LENGTH}"]
    said = complaint(edgekd("run", recipe, "--out", tmp_path / "run", *settings), 2)
    assert "the teacher cannot take inputs" in said
    assert words in said


def test_a_fine_tune_is_taught_by_embeddings_with_the_students_optimiser(pairs, tmp_path):
    """The same folder: only what follows the student is done again, without devices."""
    folder, recipe = pairs[1], tmp_path / "pairs.toml"
    recipe.write_text(recipe_of(1, '["*softmax*", "*add_*"]'))
    done = edgekd("run", recipe, "--out", folder, "--json", "--set", "devices={}")
    assert done.exit_code == 0, done.stderr
    run = json.loads(done.stdout)
    states = {row["name"]: row["state"] for row in run["stages"]}
    assert states["student"] == "cached"
    assert states["quantise-int8-asymmetric"] == "fresh"
    (history,) = json.loads((folder / "qat" / "int8-asymmetric" / "history.json").read_text())
    assert history["terms"].keys() == {"squared_error", "embedding"}


def test_int8_that_is_not_proven_is_told_and_another_variant_shipped(tmp_path):
    """A channel of 10,000 beside others below 1: 8 bits for all of them hold nothing else."""
    recipe = tmp_path / "pairs.toml"
    recipe.write_text(recipe_of(0, "[]"))
    only = ("targets=['x86-onnxruntime']", "devices={ x86-onnxruntime = 'local:' }")
    student = ("student.model=tests.pairs:lopsided", "student.options={}")
    settings = [f"--set={setting}" for setting in (*only, *student)]
    done = edgekd("run", recipe, "--out", tmp_path / "run", "--json", *settings)
    assert done.exit_code == 1, done.stderr
    assert "inconclusive" in done.stderr
    target = json.loads(done.stdout)["targets"]["x86-onnxruntime"]
    assert target["status"] == "fallback"
    assert target["int8_pays"] is False
    best = target["best"]
    assert best in ("dynamic-range", "float")  # whichever is faster on this machine, or the smaller one
    assert target["metric"] == target["variants"][best]["metric"]
    assert target["advice"].startswith(f"int8 is not proven here: ship {best}")
    assert f"nt8 is not proven here: ship {best}" in (tmp_path / "run" / "report.html").read_text()
