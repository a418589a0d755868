import pytest

from edgekd.pipeline.stages import Stages
from edgekd.progress import SILENT


@pytest.fixture
def stages(tmp_path):
    return Stages(tmp_path, SILENT)


def counted(stages, calls, inputs, name="s"):
    def work(key):
        calls.append(key)
        (stages.folder / "out").mkdir(exist_ok=True)
        (stages.folder / "out" / "file").write_text("content")
        return {"n": len(calls)}

    return stages.run(name, inputs, work, outputs=("out",))


def test_same_inputs_run_once_and_changed_inputs_again(stages):
    calls = []
    assert counted(stages, calls, {"a": 1}) == counted(stages, calls, {"a": 1}) == {"n": 1}
    assert counted(stages, calls, {"a": 2}) == {"n": 2}
    assert [entry["cached"] for entry in stages.log] == [False, True, False]


def test_a_changed_or_missing_output_runs_again(stages):
    calls = []
    counted(stages, calls, {})
    (stages.folder / "out" / "file").write_text("tampered")
    assert counted(stages, calls, {}) == {"n": 2}
    (stages.folder / "out" / "file").unlink()
    assert counted(stages, calls, {}) == {"n": 3}


def test_a_failed_stage_is_not_remembered(stages):
    with pytest.raises(ZeroDivisionError):
        stages.run("s", {}, lambda key: 1 / 0)
    assert stages.run("s", {}, lambda key: "done") == "done"


def test_a_damaged_record_is_no_record(stages):
    calls = []
    counted(stages, calls, {})
    (stages.folder / "stages" / "s.json").write_text("{")
    assert counted(stages, calls, {}) == {"n": 2}
