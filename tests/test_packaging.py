"""What a user installs: the wheel in a bare environment without torch, and a clone in editable mode."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgekd.runner_source import runner_source

ROOT = Path(__file__).parents[1]
FOLDERS = {"edgekd": "edgekd", "targets": "edgekd/_targets", "export": "edgekd/_export"}
SOURCES = (*FOLDERS, "pyproject.toml", "README.md", "LICENSE", "constraints.txt")
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
UV = (sys.executable, "-m", "uv", "--quiet")  # where pip would compile 37 packages for twenty seconds


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of what is built from, in a folder named edgekd: beside it, its name could be taken for the package's."""
    folder = tmp_path_factory.mktemp("above") / "edgekd"
    folder.mkdir()
    for name in SOURCES:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    check(*UV, "build", "--wheel", "--out-dir", folder, clone)
    (found,) = folder.glob("edgekd-*.whl")
    return found


@pytest.fixture(scope="module")
def bare(clone, wheel):
    """The folder of executables of an environment that holds the wheel and its base dependencies."""
    binaries = environment(wheel.parent / "venv")
    check(*UV, "pip", "install", "--python", binaries / "python", "-c", clone / "constraints.txt", wheel)
    return binaries


@pytest.fixture(scope="module")
def editable(clone, tmp_path_factory):
    """The same of an environment where the clone is installed in place; dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("editable")
    binaries = environment(folder)
    check(*PIP, "--python", binaries / "python", "install", "--no-deps", "--editable", clone)
    (packages,) = folder.glob("lib/*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(ours))
    return binaries


def environment(folder):
    check(sys.executable, "-m", "venv", "--without-pip", folder)
    return folder / "bin"


def check(*argv, cwd="/"):
    """What a command printed; it has to succeed. No variable of ours may lead it back to this checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    finished = subprocess.run([str(part) for part in argv], capture_output=True, text=True, env=environment, cwd=cwd)
    assert finished.returncode == 0, finished.stderr[-4000:]
    return finished.stdout


def test_the_wheel_holds_every_file_of_the_three_folders(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {source: [p for p in (ROOT / source).rglob("*") if p.is_file()] for source in FOLDERS}
    assert held == {
        f"{FOLDERS[source]}/{path.relative_to(ROOT / source).as_posix()}"
        for source, paths in files.items()
        for path in paths
        if path.suffix != ".pyc"
    }


def test_a_clone_is_found_from_the_folder_above_it(editable, clone, small_run, tmp_path):
    script = "import edgekd; print(edgekd.__file__, edgekd.__version__, edgekd.Dataset.__module__)"
    found, _, module = check(editable / "python", "-c", script, cwd=clone.parent).split()
    assert Path(found) == clone / "edgekd" / "__init__.py"
    assert module == "edgekd.data.dataset"
    listed = json.loads(check(editable / "python", "-m", "edgekd", "targets", "--json", cwd=clone.parent))
    assert {row["target"] for row in listed} == {path.stem for path in (ROOT / "targets").glob("*.toml")}
    report = json.loads(check(*export(editable / "edgekd", small_run, tmp_path), cwd=clone.parent))
    assert (Path(report["bundle"]) / "run.py").read_text() == runner_source("onnxruntime")


def export(edgekd, small_run, out):
    graph = small_run.folder / "onnx" / "int8-asymmetric.onnx"
    return (edgekd, "export", graph, "--target", "x86-onnxruntime", "--out", out, "--json", "--no-bench")


def test_torch_and_the_checkout_are_out_of_reach(bare):
    absent = "torch", "accelerate", "safetensors", "openvino", "ai_edge_litert"
    script = f"import importlib.util as u, edgekd; print([n for n in {absent} if u.find_spec(n)], edgekd.__file__)"
    found = check(bare / "python", "-c", script)
    assert found.startswith("[]")
    assert str(bare.parent) in found


def test_the_base_install_is_light(bare):
    """SymPy alone is 80 MB; what simplifies graphs elsewhere (onnxslim, onnx-ir) needs it."""
    script = "from importlib.metadata import distributions as d; print(*(each.name.lower() for each in d()))"
    names = set(check(bare / "python", "-c", script).split())
    assert "onnxruntime" in names
    assert not names & {"sympy", "mpmath", "onnxslim", "onnx-ir", "onnx_ir", "onnxscript", "matplotlib", "pillow"}
    files = [path.lstat().st_size for path in bare.parent.rglob("*") if path.is_file()]
    assert sum(files) / 1e6 < 200, "without pip and without .pyc files, which are a sixth more"


@pytest.mark.long
def test_it_runs_what_needs_no_training(bare, small_run, tmp_path):
    edgekd = bare / "edgekd"
    assert "export" in check(edgekd, "--help")
    names = {row["target"] for row in json.loads(check(edgekd, "targets", "--json"))}
    assert names >= {"x86-tflite", "x86-openvino", "x86-onnxruntime", "jetson-orin-nano"}
    report = json.loads(check(*export(edgekd, small_run, tmp_path)))
    assert report["status"] == "ok"
    (row,) = json.loads(check(edgekd, "bench", report["bundle"], "--replicates=2", "--seconds=0.01", "--json"))
    assert row["p50"] > 0
    assert json.loads(check(edgekd, "verify", report["bundle"], "--json"))["ok"]
    assert "pip install 'edgekd[train]'" in check(edgekd, "doctor", "--json")


def test_the_sources_of_the_c_runner_are_in_it(bare):
    found = check(bare / "python", "-c", "from edgekd.package_data import EXPORT; print(EXPORT / 'c')")
    files = [path for path in (ROOT / "export" / "c").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    sources = {path.relative_to(ROOT / "export" / "c") for path in files}
    assert all((Path(found.strip()) / source).is_file() for source in sources)
    assert Path("CMakeLists.txt") in sources


def test_it_says_how_to_get_what_training_needs(bare, small_run):
    finished = subprocess.run(
        [bare / "edgekd", "run", small_run.recipe, "--out", small_run.folder.parent / "other"],
        capture_output=True,
        text=True,
    )
    assert "pip install 'edgekd[train]'" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert finished.returncode == 3  # as for every SDK that is missing
