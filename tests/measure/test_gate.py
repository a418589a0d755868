"""Models measured to be compared: two in turns, and bundles against a baseline; the GitHub action's own steps."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from tests.measure.bundles import MakeBundle
from tests.small_run import complaint, edgekd

QUICK = ("--seconds=0.01",)
ACTION = Path(__file__).parents[2] / ".github/actions/gate/action.yml"


def bench(bundle: Path, out: Path, replicates: int) -> dict[str, Any]:
    assert edgekd("bench", bundle, "--replicates", replicates, "--count=5", *QUICK, "--out", out).exit_code == 0
    (line,) = out.read_text().splitlines()
    return json.loads(line)


def rewrite(out: Path, row: dict[str, Any], times: float) -> None:
    """A row as if it had been measured on a machine that is so many times as slow, of nobody's seal."""
    row["latency"] |= {name: times * row["latency"][name] for name in ("p50", "p90", "p99", "low", "high")}
    row.pop("sha256", None)
    out.write_text(json.dumps(row) + "\n")


@pytest.fixture(scope="module")
def baseline(bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An int8 bundle with a baseline that says it once took a tenth of what it takes now."""
    own, out = bundle("onnxruntime"), tmp_path_factory.mktemp("gate") / "base.jsonl"
    rewrite(out, bench(own, out, replicates=5), 0.1)
    return own, out


def chain(path: Path, operations: Iterable[str]) -> Path:
    """An ONNX file that applies operations of one input to 64 × 64 values, one after the other."""
    x, y = (make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 64, 64]) for name in ("x", "y"))
    names = ["x", *(f"t{place}" for place, _ in enumerate(operations))]
    nodes = [
        make_node(kind, [before], [after]) for kind, before, after in zip(operations, names, names[1:], strict=False)
    ]
    nodes[-1].output[0] = "y"
    onnx.save(make_model(make_graph(nodes, "g", [x], [y]), opset_imports=[make_opsetid("", 17)]), path)
    return path


def step(name: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A step of the action, in the shell that GitHub runs it in."""
    steps = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    script = next(one["run"] for one in steps if one["name"] == name)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        env=os.environ | {"PATH": path} | env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_action_fails_a_bundle_that_got_slower_and_says_so(baseline: tuple[Path, Path], tmp_path: Path) -> None:
    bundle, base = baseline
    comment, summary = tmp_path / "comment.md", tmp_path / "summary.md"
    env = {"BASE": str(base), "BUNDLES": f"\n{bundle}\n", "DEVICE": "local:", "DATA": ""}
    env |= {"THRESHOLD": "0.05", "STRICT": "true"}
    done = step("Measure and compare", **env, COMMENT=str(comment), GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1, done.stderr
    told = comment.read_text()
    assert told == summary.read_text()
    assert told.startswith("### edgekd: 1 of 1 got worse\n\n| target | variant |")
    assert "| regression |" in told

    sent = tmp_path / "sent"
    gh = tmp_path / "gh"
    gh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{sent}\n')
    gh.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GH_TOKEN": "t", "NUMBER": "7", "GITHUB_REPOSITORY": "a/b"}
    assert step("Comment", **env, COMMENT=str(comment)).returncode == 0
    assert sent.read_text().split() == [
        *("pr", "comment", "7", "--repo", "a/b", "--edit-last", "--create-if-none", "--body-file", str(comment)),
    ]


def test_a_bundle_as_it_was_passes_and_its_rows_are_the_next_baseline(bundle: MakeBundle, tmp_path: Path) -> None:
    base, out = tmp_path / "base.jsonl", tmp_path / "new.jsonl"
    own = bundle("onnxruntime")
    bench(own, base, replicates=2)  # too few to claim anything: no luck can fail this
    done = edgekd("gate", base, own, *QUICK, "--out", out, "--json")
    assert (done.exit_code, [row["verdict"] for row in json.loads(done.stdout)]) == (0, ["unclear"])
    (row,) = json.loads(done.stdout)
    assert row["replicates"] == [2, 2]
    assert row["next"] == f"edgekd bench OLD_BUNDLE --batch 1 --threads 1 --replicates 5 --out {base}"
    assert "exists" in complaint(edgekd("gate", base, own, *QUICK, "--out", out), 2)
    rows = [json.loads(file.read_text()) for file in (base, out)]
    assert len({(row["batch"], row["threads"], row["latency"]["replicates"], row["artifact"]) for row in rows}) == 1


def test_a_bundle_that_the_baseline_does_not_know_is_named(baseline: tuple[Path, Path], bundle: MakeBundle) -> None:
    own = bundle("onnxruntime", "float")
    said = complaint(edgekd("gate", baseline[1], own), 2)
    assert "holds no row of t float" in said
    assert f"edgekd bench {own} --out {baseline[1]}" in said


def test_two_bundles_of_one_row_are_refused(baseline: tuple[Path, Path], tmp_path: Path) -> None:
    """The second one's times would stand for both: whatever the first had become would pass."""
    own, base = baseline
    other = shutil.copytree(own, tmp_path / "other")
    said = complaint(edgekd("gate", base, own, other, *QUICK), 2)
    assert f"{own} and {other} are both t int8" in said


def test_two_model_files_are_measured_in_turns(tmp_path: Path) -> None:
    """Sine of 4,096 values, 40 times over, is several times as slow as once, on any machine."""
    fast, slow = chain(tmp_path / "fast.onnx", ["Sin"]), chain(tmp_path / "slow.onnx", ["Sin"] * 40)
    done = edgekd("compare", fast, slow, *QUICK, "--markdown", tmp_path / "told.md", "--json")
    (row,) = json.loads(done.stdout)
    assert (done.exit_code, row["verdict"]) == (1, "regression")
    assert row["change"] > 1
    assert -10 < row["outputs_db"] < 30  # they are other functions
    assert "from those before" in (tmp_path / "told.md").read_text()
    (few,) = json.loads(edgekd("compare", fast, slow, *QUICK, "--replicates=2", "--json").stdout)
    assert few["next"] == f"edgekd compare {fast} {slow} {QUICK[0]} --json --replicates 5"


def test_models_of_other_batches_are_not_compared_by_their_times(tmp_path: Path) -> None:
    one, many = (chain(tmp_path / f"{name}.onnx", ["Sin"]) for name in ("one", "many"))
    model = onnx.load(many)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, many)
    said = complaint(edgekd("compare", one, many, *QUICK, "--replicates=1"), 2)
    assert "batches of 1 and of 4" in said


def test_what_is_unclear_of_two_files_is_measured_again_where_it_lacks_replicates(
    baseline: tuple[Path, Path], tmp_path: Path
) -> None:
    _, base = baseline
    row, few = json.loads(base.read_text()), tmp_path / "few.jsonl"
    row["latency"]["replicates"] = 1
    rewrite(few, row, 1)
    done = edgekd("compare", few, base)
    step = f"edgekd bench OLD_BUNDLE --batch 1 --threads 1 --replicates 5 --out {few}"
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, f"1 row: 1 unclear (t int8); next: {step}")
    assert edgekd("compare", few, base, "--strict").exit_code == 1
    row["metric"] = 0.5  # which would be gone with the row that takes its place
    rewrite(few, row, 1)
    (told,) = json.loads(edgekd("compare", few, few, "--json").stdout)
    again = "edgekd bench {}_BUNDLE --batch 1 --threads 1 --data DATA --replicates 5 --out " + str(few)
    assert told["next"] == " && ".join(again.format(side) for side in ("OLD", "NEW"))


def test_results_are_not_compared_with_models(baseline: tuple[Path, Path]) -> None:
    bundle, base = baseline
    assert f"next: edgekd gate {base} {bundle}" in complaint(edgekd("compare", bundle, base), 2)
    assert "compared as they are" in complaint(edgekd("compare", base, base, "--threads", 2), 2)
