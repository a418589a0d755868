"""The command line as a user meets it: every command on a finished run, and a help that costs nothing."""

import importlib.metadata
import json
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from edgekd.cli import app
from edgekd.cli_base import EXAMPLES
from edgekd.data.npz import read_npz
from edgekd.measure.results import read_rows
from edgekd.pipeline.plan import describe, load_targets
from edgekd.recipe import builtin_recipes, load_recipe
from edgekd.target import builtin_targets
from tests.measure.bundles import rehash
from tests.small_run import EXECUTED, complaint, edgekd, finish, start

COMMANDS = (
    *("run", "init", "report", "export", "bench", "verify", "compare"),
    *("recipes", "targets", "methods", "tasks", "devices", "doctor"),
)
LAZY = (
    "numpy",
    "torch",
    "accelerate",
    "openvino",
    "ai_edge_litert",
    "tensorrt_rtx",
    "onnxruntime",
    "onnx",
    "jinja2",
    "numpy",
)


def document(*arguments):
    """The one JSON document that a command printed; nothing else may be on stdout."""
    done = edgekd(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_help_names_every_command():
    shown = edgekd("--help")
    assert shown.exit_code == 0
    assert all(command in shown.stdout for command in COMMANDS)
    for command in COMMANDS:
        assert edgekd(command, "--help").exit_code == 0


def test_version():
    assert edgekd("--version").stdout == f"edgekd {importlib.metadata.version('edgekd')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_commands_that_parse(command):
    shown = " ".join(edgekd(command, "--help").stdout.split())
    group = typer.main.get_command(app)
    for example in EXAMPLES[command]:
        assert example.split("--")[0].strip() in shown
        prompt, name, *words = shlex.split(example)
        assert (prompt, name) == ("edgekd", command)
        group.commands[name].make_context(name, words)


def test_recipes_are_listed_each_with_a_line():
    rows = document("recipes")
    assert [row["recipe"] for row in rows] == builtin_recipes()
    assert all(row["what"] for row in rows)
    assert edgekd("recipes").stdout.splitlines()[-1].endswith(f"edgekd run {rows[0]['recipe']} --dry-run")


def test_help_imports_neither_torch_nor_an_sdk():
    script = "import sys; from typer.testing import CliRunner; from edgekd.cli import app; "
    script += f"CliRunner().invoke(app, ['--help']); print([name for name in {LAZY} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def processor_seconds(*command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_quick():
    """Of processor time, the best of three in turn; the libraries alone that every command line here needs are 1."""
    floor, spent = [], []
    for _ in range(3):
        floor.append(processor_seconds(sys.executable, "-c", "import pydantic, rich, typer"))
        spent.append(processor_seconds(sys.executable, "-m", "edgekd", "--help"))
    assert min(spent) < 4 * min(floor)  # 2.6 when this was written


def test_targets_methods_and_doctor():
    assert [row["target"] for row in document("targets")] == builtin_targets()
    assert {"kd", "hint"} <= {row["method"] for row in document("methods")}
    assert all(row["what"] for row in document("methods"))
    assert {row["task"]: row["metrics"][0] for row in document("tasks")}["segmentation"] == "miou"
    rows = {row["component"]: row for row in document("doctor")}
    assert rows["onnxruntime"]["found"] != "missing"
    assert all(row["get it"] for row in rows.values() if row["found"] == "missing")
    for command in ("targets", "methods", "doctor"):
        assert edgekd(command).exit_code == 0


def test_methods_are_listed_with_their_parameters():
    rows = {row["method"]: row for row in document("methods")}
    assert rows["kd"]["parameters"] == {"output": None, "temperature": 4.0, "weight": 0.9, "standardize": False}
    assert rows["hint"]["parameters"]["layers"] == "required"
    assert all("weight" in row["parameters"] for row in rows.values())
    assert "temperature 4, weight 0.9" in " ".join(edgekd("methods").stdout.split())  # wherever lines end


def test_methods_are_listed_without_torch():
    script = "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['methods', '--json']; "
    printed = subprocess.check_output([sys.executable, "-c", f"{script} from edgekd.cli import app; app()"], text=True)
    assert {row["method"]: row["what"] for row in json.loads(printed)}["kd"].endswith("arXiv:1503.02531).")


@pytest.mark.parametrize("name", EXECUTED)
def test_verify_with_data_gives_the_run_s_own_accuracy(small_run, name):
    verdict = document("verify", small_run.bundle(name), "--data", small_run.data)
    assert verdict["ok"]
    assert verdict["samples"] == 200
    metric = small_run.run["targets"][name]["variants"]["int8"]["metric"]["mean"]
    assert verdict["accuracy"] == metric  # the same bundle on the same samples: exactly
    assert [row["output"] for row in verdict["golden"]] == ["logits"]


def test_verify_fails_where_the_golden_outputs_are_not_met(small_run, tmp_path):
    bundle = shutil.copytree(small_run.bundle("x86-onnxruntime"), tmp_path / "bundle")
    golden = read_npz(bundle / "golden.npz")
    np.savez(bundle / "golden.npz", **golden | {"output:logits": -golden["output:logits"]})
    rehash(bundle)
    failed = edgekd("verify", bundle, "--json")
    assert failed.exit_code == 1
    assert json.loads(failed.stdout)["ok"] is False


def test_verify_says_which_arrays_it_needs(small_run, tmp_path):
    bundle, broken = small_run.bundle("x86-onnxruntime"), tmp_path / "broken.npz"
    broken.write_bytes(small_run.data.read_bytes()[:2000])
    assert "not a readable npz file" in complaint(edgekd("verify", bundle, "--data", broken), 2)
    assert "no such file" in complaint(edgekd("verify", bundle, "--data", tmp_path / "nowhere.npz"), 2)
    shutil.copy(small_run.bundle("x86-onnxruntime") / "golden.npz", tmp_path / "golden.npz")
    assert "needs arrays x and y" in complaint(edgekd("verify", bundle, "--data", tmp_path / "golden.npz"), 2)


def bench(*arguments):
    return ("bench", *arguments, "--replicates", 2, "--seconds", 0.01, "--count", 5)


def test_bench_prints_a_row_per_bundle_and_keeps_every_sample(small_run, tmp_path):
    pair = (small_run.bundle("x86-onnxruntime"), "--against", small_run.bundle("x86-onnxruntime-float"))
    rows = document(*bench(*pair, "--batch", 4, "--threads", 1, "--out", tmp_path / "results.jsonl"))
    assert [row["bundle"] for row in rows] == [str(small_run.bundle("x86-onnxruntime")), str(pair[2])]
    for row, kept in zip(rows, read_rows(tmp_path / "results.jsonl"), strict=True):
        assert row["batch"] == kept.batch == 4
        assert row["p50"] == kept.latency.p50 > 0
        assert row["throughput"] > 0
        assert len(kept.samples) == 2
    assert "latency" in edgekd(*bench(pair[0])).stdout


def write(path, rows):
    """Rows as if from the five replicates without which nothing is claimed, and of nobody's seal."""
    for row in rows:
        row["latency"]["replicates"] = 5
        row.pop("sha256", None)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_compare_claims_only_what_it_can(small_run, tmp_path):
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    measured = [json.loads(line) for line in (small_run.folder / "results.jsonl").read_text().splitlines()]
    write(before, measured)
    rows = document("compare", before, before)
    assert len(rows) == len(measured)
    assert {row["verdict"] for row in rows} == {"same"}
    for row in measured:
        latency = row["latency"]
        beyond = 2 * latency["high"] / latency["low"]  # disjoint, however noisy the machine was
        latency |= {key: beyond * latency[key] for key in ("p50", "p90", "p99", "low", "high")}
    write(after, measured)
    regressed = edgekd("compare", before, after, "--json")
    assert regressed.exit_code == 1
    assert {row["verdict"] for row in json.loads(regressed.stdout)} == {"regression"}
    assert edgekd("compare", after, before).exit_code == 0  # faster is no regression
    after.write_text("")
    assert "no rows" in complaint(edgekd("compare", before, after), 2)


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_options_that_are_no_number_are_refused(tmp_path, number):
    """With either as threshold no slowdown would ever count."""
    for words in (("compare", tmp_path, tmp_path, "--threshold", number), ("bench", tmp_path, "--seconds", number)):
        refused = edgekd(*words)
        assert refused.exit_code == 2
        assert f"Invalid value for '{words[-2]}'" in refused.stderr


def test_report_is_written_again(small_run, tmp_path):
    folder = shutil.copytree(small_run.folder, tmp_path / "run")
    (folder / "report.html").unlink()
    written = edgekd("report", folder)
    assert written.exit_code == 0
    assert written.stdout == f"report: {folder / 'report.html'}\n"
    assert (folder / "report.html").read_text() == (small_run.folder / "report.html").read_text()
    complaint(edgekd("report", tmp_path), 2)


def test_the_reports_command_for_times_works_in_the_runs_folder(small_run, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(small_run.folder, tmp_path / "run"))
    (told,) = re.findall("<code>edgekd (profile [^<]*)</code>", Path("report.html").read_text())
    assert edgekd(*shlex.split(told), "--runs", 5).exit_code == 0
    assert "Sort by" in Path("layers.html").read_text()


@pytest.mark.parametrize("name", builtin_recipes())
def test_stages_of_the_built_in_recipes(name):
    recipe = load_recipe(name, ["seeds=2"])
    rows = describe(recipe, load_targets(recipe))
    assert [row["stage"] for row in rows].count("student") == 2


def test_a_run_says_what_it_found(small_run, tmp_path):
    folder = shutil.copytree(small_run.folder, tmp_path / "run")
    shown = finish(start("run", small_run.recipe, "--out", folder, env={"COLUMNS": "120"}))
    assert shown.returncode == 0, shown.stderr
    for words in ("teacher", "distilled student", "int8-symmetric", *EXECUTED, "jetson-orin-nano", "report"):
        assert words in shown.stdout
    assert shown.stdout.splitlines()[-1] == f"3 proven, 1 not executed; report: {folder / 'report.html'}"


@pytest.mark.long
def test_two_seeds_are_averaged(small_run, tmp_path):
    """The first seed is remembered: it lives in the run folder itself."""
    folder = shutil.copytree(small_run.folder, tmp_path / "run")
    only = ("quantization.epochs=0", "targets=['x86-onnxruntime']", "devices={ x86-onnxruntime = 'local:' }")
    only += ("benchmark.replicates=1",)
    run = document("run", small_run.recipe, "--out", folder, "--seeds", 2, *(f"--set={setting}" for setting in only))
    assert run["seeds"] == [0, 1]
    metric = run["student"]["metric"]
    assert metric["seeds"][0] == small_run.run["student"]["metric"]["mean"]
    assert metric["mean"] == pytest.approx(sum(metric["seeds"]) / 2)  # float64 addition in another order
    assert metric["std"] is not None
    target = run["targets"]["x86-onnxruntime"]
    assert len(target["metric"]["seeds"]) == 2
    assert target["variants"].keys() == {"int8", "float"}
    assert all(len(variant["metric"]["seeds"]) == 2 for variant in target["variants"].values())
    assert {row["name"]: row["state"] for row in run["stages"]}["student"] == "cached"


def test_help_as_a_document_says_what_each_command_takes():
    found = json.loads(edgekd("--help", "--json").stdout)
    assert {command["command"] for command in found["commands"]} >= set(COMMANDS)
    assert found["exit_codes"]["4"].startswith("done, but not proven")
    export = json.loads(edgekd("export", "--help", "--json").stdout)
    assert export == next(command for command in found["commands"] if command["command"] == "export")
    (model,) = export["arguments"]
    assert (model["name"], model["type"], model["required"]) == ("model", "path", True)
    options = {option["name"]: option for option in export["options"]}
    assert (options["target"]["flags"], options["target"]["several"]) == (["--target"], True)
    assert (options["refine"]["type"], options["refine"]["default"]) == ("float", 60)
    bench = json.loads(edgekd("bench", "--help", "--json").stdout)
    scenario = next(option for option in bench["options"] if option["name"] == "scenario")
    assert scenario["choices"] == ["single-stream", "offline"]
