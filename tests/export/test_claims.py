"""What a bundle claims of itself is held against what the runner knows: nothing that it says makes a fault hold."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd.runner.bundle import Bundle
from edgekd.runner.judge import judge
from tests.export.runner import failure, run, runner_of
from tests.measure.bundles import MakeBundle, add_listed, edit_manifest, golden, rehash
from tests.small_run import edgekd


def negate(model: Path) -> None:
    """Turn every weight around: what the network says is then as wrong as can be."""
    graph = onnx.load(model)
    for constant in graph.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype == np.int8 and values.ndim > 1:
            constant.CopyFrom(numpy_helper.from_array(-np.maximum(values, -127), constant.name))
    onnx.save(graph, model)


def claim(folder: Path, **claims: Any) -> None:
    """What a manifest says of its output."""
    (spec,) = outputs(folder)
    edit_manifest(folder, outputs=[spec | claims])


def outputs(folder: Path) -> list[dict[str, Any]]:
    return Bundle(folder).outputs


@pytest.fixture
def negated(own_bundle: Path) -> Path:
    negate(own_bundle / "model.onnx")
    rehash(own_bundle)
    return own_bundle


@pytest.mark.parametrize(
    ("manifest", "output", "code"),
    [
        ({}, {}, 1),
        ({"tolerance": {"max_steps": 1e308}}, {}, 1),
        ({"tolerance": {"p999_steps": 1e308}}, {}, 1),
        ({"tolerance": {"agreement": 0.0}}, {}, 1),
        ({}, {"noise": 1e30}, 1),
        ({"tolerance": {"max_steps": 1e308, "agreement": 0}}, {"noise": 1e30}, 1),
        ({}, {"step": 1e9}, 4),  # nothing moves by such a step, so nothing is proven
        ({}, {"step": 1e9, "noise": 1e30}, 4),
        ({}, {"step": -1.0}, 2),
        ({}, {"step": 1e400}, 2),
        ({}, {"noise": float("nan")}, 2),
        ({"tolerance": {"max_steps": float("nan")}}, {}, 2),
    ],
)
def test_no_claim_makes_negated_weights_hold(
    negated: Path, manifest: dict[str, Any], output: dict[str, Any], code: int
) -> None:
    claim(negated, **output)
    edit_manifest(negated, **manifest)
    assert run("verify", negated)[0] == code
    verdict = edgekd("verify", negated)
    assert verdict.exit_code == code, verdict.stderr
    assert "holds" not in verdict.stdout


def test_a_step_that_the_golden_outputs_do_not_bear_out_proves_nothing(own_bundle: Path) -> None:
    assert run("verify", own_bundle)[0] == 0
    spread = golden(own_bundle, "output:logits").std()
    claim(own_bundle, step=float(spread / 3))
    told = "the golden outputs of 'logits' move by 3.0 steps (needs 6): they would agree with anything"
    assert failure("verify", own_bundle) == (4, "not-proven", told)
    verdict = edgekd("verify", own_bundle)
    assert verdict.exit_code == 4
    assert verdict.stderr.splitlines()[-1] == f"not proven: {told}"


def test_a_bundle_may_ask_for_more(own_bundle: Path) -> None:
    """Outputs that are one step off hold by the runtime's own tolerance, and not by a tighter one."""
    (spec,) = outputs(own_bundle)
    moved = golden(own_bundle, "output:logits") + np.float32(1.5 * spec["step"])
    np.savez(own_bundle / "golden.npz", **{"input:input": golden(own_bundle, "input:input"), "output:logits": moved})
    rehash(own_bundle)
    edit_manifest(own_bundle, tolerance={"max_steps": 5.0})
    assert run("verify", own_bundle)[0] == 0
    edit_manifest(own_bundle, tolerance={"max_steps": 1.0})
    assert run("verify", own_bundle)[0] == 1


def test_counts_have_to_be_equal() -> None:
    """The index of a class has no scale: two off is another class."""
    spec = {"name": "class", "step": 100.0}
    classes = np.array([0, 3, 7], np.int64)
    assert judge(spec, classes, classes, {"max_steps": 2.0})["ok"]
    assert not judge(spec, classes, np.array([0, 3, 8]), {"max_steps": 2.0})["ok"]


@pytest.mark.parametrize(
    ("apart", "noise", "ok"), [(3, 0.02, True), (4, 0.02, False), (16, 1e9, True), (17, 1e9, False)]
)
def test_as_many_indices_may_differ_as_quantising_changes(apart: int, noise: float, ok: bool) -> None:
    """1.6 times the share that the manifest tells, of which a tenth is believed."""
    classes = np.arange(100).reshape(1, 100) % 7
    found = classes + (np.arange(100) < apart)
    assert judge({"name": "class", "noise": noise}, classes, found, {})["ok"] is ok


INTRUDER = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nraise ImportError('hidden')\n"


@pytest.mark.parametrize("name", ["numpy.py", "json.py", "onnxruntime.py"])
def test_nothing_beside_the_runner_is_imported(own_bundle: Path, name: str) -> None:
    add_listed(own_bundle, "run.py", runner_of(own_bundle).read_bytes())
    add_listed(own_bundle, name, INTRUDER.encode())
    for place in (own_bundle, own_bundle.parent):
        command = [sys.executable, own_bundle / "run.py", "build", own_bundle]
        assert subprocess.run(command, cwd=place, capture_output=True).returncode == 0
    assert not (own_bundle / "ran").exists()


@pytest.mark.parametrize("name", ["numpy.py", ".hidden", "engine/batch-1.plan", "folder/deep.bin"])
def test_what_a_manifest_does_not_list_is_refused_here_and_there(own_bundle: Path, name: str) -> None:
    (own_bundle / name).parent.mkdir(exist_ok=True)
    (own_bundle / name).write_bytes(b"x")
    assert failure("build", own_bundle)[2] == f"{own_bundle}: {name} is not listed in manifest.json"
    refused = edgekd("verify", own_bundle)
    assert (refused.exit_code, f"{name} is not listed in manifest.json: remove it" in refused.stderr) == (2, True)


def test_a_link_that_is_not_listed_is_refused(own_bundle: Path) -> None:
    (own_bundle / "link").symlink_to(own_bundle.parent)
    assert failure("build", own_bundle)[2] == f"{own_bundle}: link is not listed in manifest.json"
    assert "link is not listed" in edgekd("verify", own_bundle).stderr


def test_an_engine_may_lie_beside_its_model(bundle: MakeBundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle("onnxruntime"), tmp_path / "bundle"))
    edit_manifest(folder, backend="tensorrt")
    (folder / "engine").mkdir()
    (folder / "engine" / "batch-1-8.plan").write_bytes(b"built")
    assert "not listed" not in failure("build", folder)[2]  # there is no driver here
