"""the whole run on a tiny recipe: what run.json promises, and that a second run remembers all of it."""

import json
import shutil

import pytest

from edgekd.measure.results import read_rows
from edgekd.pipeline.run import alone
from tests import host
from tests.small_run import EXECUTED, edgekd

RUN_KEYS = {
    "schema", "name", "title", "machine", "versions", "seeds", "recipe_sha256", "git_commit", "metric_name", "data",
    "teacher", "student_scratch", "student", "distillation", "float", "quantized", "targets", "stages",
}  # fmt: skip
STAGE_KEYS = {"name", "seconds", "state", "commit", "dirty", "versions"}
TARGET_KEYS = {
    "backend", "device", "status", "reason", "metric", "metric_source", "variants", "int8_pays", "best", "advice",
    "notes",
}  # fmt: skip
MEASURED = 9  # int8 and float on three targets, LiteRT's float16 and dynamic range, OpenVINO's own choice for float
SCHEMES = {"int8-asymmetric", "int8-symmetric"}


def test_run_json_holds_every_key_of_schema_2(small_run):
    run = small_run.run
    assert run.keys() >= RUN_KEYS
    assert run["schema"] == 2
    assert run["metric_name"] == "accuracy"
    assert run["data"] == {"name": "npz", "train": 640, "val": 128, "test": 200, "classes": 4, "unit": 1}
    for model in ("teacher", "student_scratch", "student"):
        doubt = {"chance", "may_be_chance"} if model == "teacher" else set()
        assert run[model].keys() == {"metric", "parameters", "macs"} | doubt
        assert run[model]["metric"].keys() == {"mean", "std", "seeds"}
    assert (run["teacher"]["chance"], run["teacher"]["may_be_chance"]) == (0.25, False)
    values = {"tax", "gap_recovered", "agreement"}
    assert run["distillation"].keys() >= values | {f"{value}_std" for value in values} | {"calibration_error"}
    assert [method["weight"] for method in run["distillation"]["methods"]] == [0.9, 1.0]  # defaults are told as well
    assert run["distillation"]["cross_entropy"] == 0.1
    assert abs(run["float"]["difference"]) < 0.01  # one of 200 samples may lie on the edge between two classes
    assert "teachers" not in run
    assert run["distillation"]["gap_recovered"] is not None or run["distillation"]["reason"]
    assert run["quantized"].keys() == SCHEMES
    assert {stage for row in run["stages"] for stage in row} == {
        "name",
        "seconds",
        "state",
        "commit",
        "dirty",
        "versions",
    }
    assert run["machine"]["cpu"]
    assert run["machine"]["cores"] > 0


def test_what_was_printed_is_what_was_written(small_run):
    assert small_run.printed == small_run.run


def test_every_target_has_its_entry(small_run):
    for name, target in small_run.run["targets"].items():
        executed = name in EXECUTED
        assert target.keys() >= TARGET_KEYS | {"kernels"} | ({"parity"} if executed else set())
        assert target["status"] == ("ok" if executed else "unverified"), target["reason"]
        assert target["metric_source"] == ("device" if executed else "reference")
        assert (target.get("telemetry") or {}).get("samples", 0) >= (2 if executed else 0)
        for variant in target["variants"].values():
            assert variant["bytes"] > 0
            assert 0.9 < variant["metric"]["mean"] <= 1  # four patterns that a linear model nearly separates
            assert (variant["latency_ms"] is not None) == executed


@pytest.mark.parametrize("name", [*EXECUTED, "jetson-orin-nano"])
def test_every_convolution_and_gemm_runs_in_int8(small_run, name):
    target = small_run.run["targets"][name]
    assert target["kernels"]["total"] == 10  # of a ResNet-8: seven 3x3, two shortcuts, the classifier
    assert target["kernels"]["int8"] == host.int8_kernels(name, 10), target["reason"]


def test_a_graph_that_no_device_ran_says_so(small_run):
    target = small_run.run["targets"]["jetson-orin-nano"]
    assert target["device"] is None
    assert target["int8_pays"] is None
    assert target["reason"].startswith("checked ahead of time, not executed: the recipe names no device")
    assert "so its int8 is calibrated, not fine-tuned" in target["reason"]
    assert "not the Jetson engine" in target["reason"]
    assert sorted(path.name for path in (small_run.folder / "qat").iterdir()) == ["int8-asymmetric"]


@pytest.mark.parametrize("name", EXECUTED)
def test_parity_holds_at_every_batch_size(small_run, name):
    rows = small_run.run["targets"][name]["parity"]
    assert [row["batch"] for row in rows] == [1, 8]
    for row in rows:
        assert row.keys() >= {"output", "batch", "n", "step", "max", "p999", "exact", "agreement"}
        assert (row["output"], row["n"], row["ok"], row["reason"]) == ("logits", 128, True, None)
        assert row["p999"] <= 4 if name == "x86-openvino" else row["max"] <= 2 + 1e-3  # design: parity
        assert row["agreement"] >= 0.99


def test_latencies_are_kept_with_every_sample(small_run):
    rows = read_rows(small_run.folder / "results.jsonl")
    measured = {(row.target, row.label) for row in rows}
    assert measured >= {(target, label) for target in EXECUTED for label in ("int8", "float")}
    assert len(measured) == len(rows) == MEASURED
    for row in rows:
        assert len(row.samples) == 2  # replicates of the recipe
        assert all(len(replicate) >= 5 for replicate in row.samples)
        found = small_run.run["targets"][row.target]["variants"][row.label]["latency_ms"]
        assert found["p50"] == row.latency.p50


def test_two_replicates_are_too_few_to_say_that_int8_pays(small_run):
    assert all(target["int8_pays"] is None for target in small_run.run["targets"].values())


def test_every_target_names_the_variant_to_ship_and_why(small_run):
    """Nothing is claimed of speed here, so the smallest file that keeps the metric is it."""
    for name in EXECUTED:
        target = small_run.run["targets"][name]
        keeping = [
            label
            for label, row in target["variants"].items()
            if row["val"] >= target["variants"]["float"]["val"] - 0.005
        ]
        assert target["best"] == min(keeping, key=lambda label: target["variants"][label]["bytes"])
        assert f"ship {target['best']}, perhaps " in target["advice"]
        assert all(row["broken"] is None for row in target["variants"].values())
    assert small_run.run["targets"]["jetson-orin-nano"]["best"] is None


def test_the_report_is_one_file_that_needs_no_network(small_run):
    page = (small_run.folder / "report.html").read_text()
    assert "x86-openvino" in page
    assert "<script src" not in page
    assert "<link" not in page


def test_a_second_run_remembers_everything(small_run, tmp_path):
    before, folder = small_run.run, shutil.copytree(small_run.folder, tmp_path / "run")
    (folder / "report.html").unlink()
    again = edgekd("run", small_run.recipe, "--out", folder, "--json")
    assert again.exit_code == 0, again.stderr
    after = json.loads(again.stdout)
    assert all(row["state"] == "cached" for row in after["stages"])
    assert [row["seconds"] for row in after["stages"]] == [row["seconds"] for row in before["stages"]]
    changing = {"stages", "machine", "git_commit"}  # facts of the moment
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
    assert (folder / "report.html").is_file()
    assert len(read_rows(folder / "results.jsonl")) == MEASURED  # nothing was measured twice


def test_a_stage_that_changed_is_reused_where_it_is_asked_for(small_run, tmp_path):
    folder = shutil.copytree(small_run.folder, tmp_path / "run")
    shorter = ["--set=student.training.epochs=2", "--set=targets=[]", "--set=devices={}"]
    reused = edgekd("run", small_run.recipe, "--out", folder, *shorter, "--reuse", "student")
    assert reused.exit_code == 0, reused.stderr
    run = json.loads((folder / "run.json").read_text())
    states = {stage["name"]: stage["state"] for stage in run["stages"]}
    assert (states["teacher"], states["scratch"], states["student"]) == ("cached", "fresh", "reused")
    assert run["student"]["metric"] == small_run.run["student"]["metric"]  # that of 8 epochs
    assert "<small>reused</small>" in (folder / "report.html").read_text()
    redone = edgekd("run", small_run.recipe, "--out", folder, *shorter)
    assert redone.exit_code == 0, redone.stderr
    assert "student: model.training.epochs 8 → 2; it runs again" in redone.stderr
    again = json.loads((folder / "run.json").read_text())
    assert {stage["name"]: stage["state"] for stage in again["stages"]}["student"] == "fresh"


def test_only_a_runs_own_files_are_swept(tmp_path):
    """A run may be put where other things lie: hidden files of others stay."""
    kept = [tmp_path / ".env.local", tmp_path / ".config" / ".x.y"]
    swept = [tmp_path / ".run.json.3f8a.json", tmp_path / "bundles" / ".x86-tflite.abcd" / "new" / "model.onnx"]
    for path in kept + swept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with alone(tmp_path, fresh=True):
        assert all(path.exists() for path in kept)
        assert not any(path.exists() for path in swept)
