"""The wheel alone, in a bare environment without torch: what a user of finished models installs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("edgekd", "targets", "export", "pyproject.toml", "README.md", "LICENSE", "constraints.txt")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The folder of executables of an environment that holds the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:  # a copy: the build leaves files beside its sources
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    check(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", folder / "dist", folder)
    (wheel,) = (folder / "dist").glob("edgekd-*.whl")
    check(sys.executable, "-m", "venv", folder / "venv")
    check(folder / "venv" / "bin" / "python", *pip, "install", "-c", folder / "constraints.txt", wheel)
    return folder / "venv" / "bin"


def check(*argv):
    """What a command printed; it has to succeed. No variable of ours may lead it back to this checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    finished = subprocess.run([str(part) for part in argv], capture_output=True, text=True, env=environment, cwd="/")
    assert finished.returncode == 0, finished.stderr[-4000:]
    return finished.stdout


def test_torch_and_the_checkout_are_out_of_reach(bare):
    absent = "torch", "accelerate", "safetensors", "openvino", "ai_edge_litert"
    script = f"import importlib.util as u, edgekd; print([n for n in {absent} if u.find_spec(n)], edgekd.__file__)"
    found = check(bare / "python", "-c", script)
    assert found.startswith("[]")
    assert str(bare.parent) in found


def test_it_runs_what_needs_no_training(bare, road, tmp_path):
    edgekd = bare / "edgekd"
    assert "export" in check(edgekd, "--help")
    names = {row["target"] for row in json.loads(check(edgekd, "targets", "--json"))}
    assert names >= {"x86-tflite", "x86-openvino", "x86-onnxruntime", "jetson-orin-nano"}
    graph = road.folder / "onnx" / "int8-asymmetric.onnx"
    command = (edgekd, "export", graph, "--target", "x86-onnxruntime", "--out", tmp_path, "--json")
    report = json.loads(check(*command))
    assert report["status"] == "ok"
    (row,) = json.loads(check(edgekd, "bench", report["bundle"], "--replicates=2", "--seconds=0.01", "--json"))
    assert row["p50"] > 0
    assert json.loads(check(edgekd, "verify", report["bundle"], "--json"))["ok"]
    assert "pip install 'edgekd[train]'" in check(edgekd, "doctor", "--json")


def test_the_sources_of_the_c_runner_are_in_it(bare):
    found = check(bare / "python", "-c", "from importlib.resources import files; print(files('edgekd._export') / 'c')")
    sources = {path.relative_to(ROOT / "export" / "c") for path in (ROOT / "export" / "c").rglob("*") if path.is_file()}
    assert all((Path(found.strip()) / source).is_file() for source in sources)
    assert Path("CMakeLists.txt") in sources


def test_it_says_how_to_get_what_training_needs(bare, road):
    finished = subprocess.run(
        [bare / "edgekd", "run", road.recipe, "--out", road.folder.parent / "other"], capture_output=True, text=True
    )
    assert "pip install 'edgekd[train]'" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.returncode == 3  # as for every SDK that is missing
