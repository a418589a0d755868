"""A phone in one command: no Python there, no compiler and no `?runner=` here, nothing but its kernel used."""

import importlib.util
import json
import shlex
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edgekd.devices import open_device, start_command
from edgekd.files import sha256
from edgekd.target import load_target
from tests.devices.android import Phone
from tests.devices.conftest import Start
from tests.devices.student import write_student
from tests.devices.test_adb_arm64 import edgekd
from tests.export.c_runner import ROOT, build

DEVICES = ROOT / "docs" / "devices.md"
FEW = ("--replicates", "2", "--seconds", "0.05", "--count", "5")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where edgekd-runner is installed: what `make runner-wheel` packs, of this checkout."""
    folder = tmp_path_factory.mktemp("packages") / "edgekd_runner"
    shutil.copytree(build(tmp_path_factory.mktemp("c"), "aarch64").parent, folder / "aarch64")
    spec = importlib.util.spec_from_file_location("ship", ROOT / "export" / "c" / "ship.py")
    assert spec is not None
    assert spec.loader is not None
    ship = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ship)
    ship.complete(folder / "aarch64", "aarch64")
    (folder / "__init__.py").touch()
    return folder.parent


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student") / "bundle"
    data = write_student(folder, load_target("pixel-9").model_copy(update={"affinity": None, "threads": 1}))
    np.savez(folder.parent / "data.npz", x=data.test.inputs[:50], y=data.test.labels[:50])
    return folder


@pytest.fixture
def phone(start: Start, packages: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    monkeypatch.syspath_prepend(packages)
    return start(Phone)


def only_adb(folder: Path) -> Path:
    """All programs that a host needs."""
    (folder / "bin").mkdir()
    (folder / "bin" / "adb").symlink_to(str(shutil.which("adb")))
    return folder / "bin"


def test_a_phone_is_measured_in_one_command(phone: Phone, packages: Path, student: Path) -> None:
    out = student.parent / "results.jsonl"
    data = ("--data", student.parent / "data.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(only_adb(student.parent)))
        code, output = edgekd("bench", student, "--device", phone.uri, *FEW, *data, "--out", out, "--json")
    assert code == 0, output
    row = json.loads(out.read_text())
    assert (row["runtime"], row["runner"]) == ("LiteRT C", sha256(packages / "edgekd_runner/aarch64/edgekd-runner"))
    assert row["machine"]["arch"] == "aarch64"
    assert row["metric"] > 0.7  # ten classes: the student is one, and has learnt something
    assert phone.leftovers() == []


def test_nothing_of_the_phone_is_loaded(phone: Phone, packages: Path) -> None:
    program = packages / "edgekd_runner" / "aarch64" / "edgekd-runner"
    with closing(open_device(phone.uri)) as device:
        assert device.runner == program
        folder = device.push(program.parent)
        loader, *words = start_command(program, folder)
        libraries = [f"{folder}/{name}" for name in ("edgekd-runner", "libtensorflowlite_c.so")]
        for library in libraries:
            listed = device.run([loader, "--list", *words[:-1], library], 60).stdout
            found = [line.partition("=>")[2].split()[0] for line in listed.splitlines() if "=>" in line]
            assert len(found) >= 2
            assert all(path.startswith(f"{folder}/") for path in found), listed


def test_a_damaged_runner_does_not_travel(
    phone: Phone, packages: Path, student: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = shutil.copytree(packages, tmp_path / "packages") / "edgekd_runner" / "aarch64" / "libc.so.6"
    copy.write_bytes(copy.read_bytes()[:-1] + b"!")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    code, output = edgekd("bench", student, "--device", phone.uri, *FEW)
    assert code == 2
    assert "libc.so.6 is not what runner.json says" in " ".join(output.split())


@pytest.mark.long
def test_the_documented_commands_for_a_phone_hold(
    phone: Phone, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the letter, but for the phone's serial number, and how long it measures."""
    block = next(block for block in DEVICES.read_text(encoding="utf-8").split("```") if "adb://SERIAL" in block)
    lines = block.replace("SERIAL", phone.uri.removeprefix("adb://")).splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("edgekd ")]
    assert [command[0] for command in commands] == ["devices", "doctor", "verify", "bench"]
    for name, there in (("bundles/pixel-9", student), ("test.npz", student.parent / "data.npz")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(there)
    monkeypatch.chdir(tmp_path)
    commands[-1] += ["--replicates", "1", "--seconds", "0.05", "--count", "5"]
    for command in commands:
        code, output = edgekd(*command)
        assert code == 0, output
    row = json.loads((tmp_path / "results.jsonl").read_text())
    assert row["metric_name"] == "accuracy"
    assert row["difference"]["against"] == "host"
