import json
import shutil
from pathlib import Path

import pytest

import edgekd
from edgekd.errors import BadInputError
from edgekd.pipeline import sources
from edgekd.pipeline.stages import Stages, require_remembered
from edgekd.progress import SILENT, Reporter

CODE = ("edgekd.training.loop",)


@pytest.fixture
def stages(tmp_path):
    return Stages(tmp_path, SILENT)


def counted(stages, calls, inputs, name="s", code=CODE):
    def work(key):
        calls.append(key)
        (stages.folder / "out").mkdir(exist_ok=True)
        (stages.folder / "out" / "file").write_text("content")
        return {"n": len(calls)}

    return stages.run(name, inputs, work, outputs=("out",), code=code)


def test_same_inputs_run_once_and_changed_inputs_again(stages):
    calls = []
    assert counted(stages, calls, {"a": 1}) == counted(stages, calls, {"a": 1}) == {"n": 1}
    assert counted(stages, calls, {"a": 2}) == {"n": 2}
    assert [entry["state"] for entry in stages.log] == ["fresh", "cached", "fresh"]


def test_a_changed_or_missing_output_runs_again(stages):
    calls = []
    counted(stages, calls, {})
    (stages.folder / "out" / "file").write_text("tampered")
    assert counted(stages, calls, {}) == {"n": 2}
    (stages.folder / "out" / "file").unlink()
    assert counted(stages, calls, {}) == {"n": 3}


def test_a_failed_stage_is_not_remembered(stages):
    with pytest.raises(ZeroDivisionError):
        stages.run("s", {}, lambda key: 1 / 0, code=CODE)
    assert stages.run("s", {}, lambda key: "done", code=CODE) == "done"


def test_a_damaged_record_is_no_record(stages):
    calls = []
    counted(stages, calls, {})
    (stages.folder / "stages" / "s.json").write_text("{")
    assert counted(stages, calls, {}) == {"n": 2}


def test_a_result_that_was_edited_is_found_and_made_again(tmp_path, capsys):
    stages, calls = Stages(tmp_path, Reporter()), []
    counted(stages, calls, {})
    record = tmp_path / "stages" / "s.json"
    document = json.loads(record.read_text())
    record.write_text(json.dumps(document | {"result": {"n": 0.99}}))
    assert counted(stages, calls, {}) == {"n": 2}
    assert f"s: {record} is damaged; it runs again" in capsys.readouterr().err


def test_what_has_changed_is_named_before_it_runs_again(tmp_path, capsys):
    stages, calls = Stages(tmp_path, Reporter()), []
    counted(stages, calls, {"model": {"epochs": 3, "width": 8}, "data": "a" * 64})
    counted(stages, calls, {"model": {"epochs": 4, "width": 8}, "data": "b" * 64})
    assert "s: model.epochs 3 → 4; data changed; it runs again" in capsys.readouterr().err
    (tmp_path / "out" / "file").unlink()
    counted(stages, calls, {"model": {"epochs": 4, "width": 8}, "data": "b" * 64})
    assert f"s: {tmp_path / 'out' / 'file'} is damaged; it runs again" in capsys.readouterr().err


def test_another_version_of_a_library_runs_again_but_not_another_build(tmp_path, capsys, monkeypatch):
    stages, calls = Stages(tmp_path, Reporter()), []
    monkeypatch.setattr("edgekd.pipeline.origin._version", {"torch": "2.12.0+cpu"}.get)
    counted(stages, calls, {})
    monkeypatch.setattr("edgekd.pipeline.origin._version", {"torch": "2.12.0+cu126"}.get)
    counted(stages, calls, {})
    assert len(calls) == 1
    monkeypatch.setattr("edgekd.pipeline.origin._version", {"torch": "2.13.0"}.get)
    counted(stages, calls, {})
    assert "s: torch 2.12.0 → 2.13.0; it runs again" in capsys.readouterr().err
    assert stages.log[-1]["versions"] == {"torch": "2.13.0"}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of edgekd's sources to edit, in the place of its own."""
    copy = shutil.copytree(Path(edgekd.__path__[0]), tmp_path / "edgekd", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sources, "FOLDER", copy)
    return copy


def edit(path, before, after):
    text = path.read_text()
    assert before in text
    rewrite(path, text.replace(before, after))


def rewrite(path, text):
    path.write_text(text)
    sources._parsed.cache_clear()


LEARN = ("edgekd.pipeline.learn", "edgekd.students.resnet", "edgekd.distillation.kd")
DEPLOY = ("edgekd.pipeline.deploy", "edgekd.backends.onnxruntime.compile", "edgekd.devices.local")


def test_an_edited_source_runs_again_what_reaches_it(tmp_path, tree, capsys):
    stages, calls = Stages(tmp_path, Reporter()), []
    counted(stages, calls, {}, code=LEARN)
    commit = json.loads((tmp_path / "stages" / "s.json").read_text())["origin"]["commit"]
    edit(tree / "training" / "loop.py", "CHECKPOINT_SECONDS = 30.0", "CHECKPOINT_SECONDS = 31.0")
    counted(stages, calls, {}, code=LEARN)
    since = f" since {commit[:7]}" if commit else ""
    assert f"s: training/loop.py changed{since}; it runs again" in capsys.readouterr().err
    for name in ("distillation/kd.py", "students/_layers.py", "training/teacher_cache.py"):  # the latter lazily or not
        rewrite(tree / name, (tree / name).read_text() + "\nNEW = 1\n")
        counted(stages, calls, {}, code=LEARN)
        assert f"s: {name} changed" in capsys.readouterr().err


def test_a_source_that_no_result_depends_on_runs_nothing_again(tmp_path, tree):
    stages, calls = Stages(tmp_path, SILENT), []
    for code in (LEARN, DEPLOY):
        counted(stages, calls, {}, name=code[0], code=code)
    others = [*(tree / "reporting").glob("*.py"), tree / "cli.py", tree / "api.py", tree / "progress.py"]
    others += [
        tree / "distillation" / "dkd.py",
        tree / "students" / "mobilenet.py",
        tree / "backends" / "openvino" / "compile.py",
    ]
    for path in others:
        rewrite(path, path.read_text() + "\nNEW = 1\n")
    (tree / "distillation" / "mine.py").write_text("NEW = 1")
    edit(tree / "training" / "loop.py", '"""The one training loop', '# seen by people alone\n"""Our training loop')
    for code in (LEARN, DEPLOY):
        counted(stages, calls, {}, name=code[0], code=code)
    assert len(calls) == 2
    assert not [name for name in sources.reach(LEARN).digests if name.startswith("backends/")]


def test_a_users_own_modules_count_with_what_they_import(tmp_path, monkeypatch):
    package = tmp_path / "mine"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "net": "from . import parts\nimport flat",
        "parts": "A = 1",
        "other": "",
    }.items():
        (package / f"{name}.py").write_text(text)
    (tmp_path / "flat.py").write_text("def later():\n    import numpy, late")
    (tmp_path / "late.py").write_text("raise SystemExit('it is read, not run')")
    monkeypatch.syspath_prepend(tmp_path)
    found = sources.reach(["mine.net"])
    assert set(found.digests) == {"mine.py", "mine/net.py", "mine/parts.py", "flat.py", "late.py"}
    assert found.libraries >= {"numpy"}
    rewrite(package / "parts.py", "A = 2")
    assert {name for name, known in sources.reach(["mine.net"]).digests.items() if known != found.digests[name]} == {
        "mine/parts.py"
    }


def test_a_module_of_the_same_name_that_comes_first_now_is_another(tmp_path):
    found = []
    for text in ("A = 1", "A = 2"):
        folder = tmp_path / text[-1]
        folder.mkdir()
        (folder / "homonym.py").write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(folder)
            found.append(sources.reach(["homonym"]).digests)
    first, second = (digests["homonym.py"] for digests in found)
    assert first != second


def test_a_stage_that_is_reused_is_taken_as_it_is(tmp_path):
    calls = []
    counted(Stages(tmp_path, SILENT), calls, {"a": 1})
    reusing = Stages(tmp_path, SILENT, reuse=["s"])
    require_remembered(tmp_path, ["s"])
    assert counted(reusing, calls, {"a": 2}) == {"n": 1}
    assert counted(reusing, calls, {"a": 1}) == {"n": 1}
    assert [entry["state"] for entry in reusing.log] == ["reused", "cached"]
    (tmp_path / "out" / "file").write_text("tampered")
    with pytest.raises(BadInputError, match=r"--reuse s: .*file is damaged"):
        counted(reusing, calls, {"a": 2})
    with pytest.raises(BadInputError, match=r"--reuse studnt: .* holds no result of such a stage"):
        require_remembered(tmp_path, ["s", "studnt"])
