import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgekd.bundle import File, load_bundle
from edgekd.devices import open_device
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.measure import measure
from edgekd.measure.results import append_rows, artifact, keep_rows, read_rows, row
from tests.export.runner import runner_file
from tests.measure.bundles import MakeBundle
from tests.measure.test_comparison import measured


def test_a_measurement_survives_the_file(bundle: MakeBundle, tmp_path: Path) -> None:
    device = open_device("local:")
    folder = bundle("openvino", "float")
    measured = measure(device, {"bf16": (folder, {"precision": "default"})}, replicates=2, seconds=0.01, count=5)
    written = row(load_bundle(folder), "bf16", measured["bf16"])
    device.close()
    append_rows(tmp_path / "results.jsonl", [written])
    append_rows(tmp_path / "results.jsonl", [written])
    assert read_rows(tmp_path / "results.jsonl") == [written, written]
    assert written.runtime == "OpenVINO"
    assert written.options["precision"] in ("bf16", "f16", "f32")  # what ran, not what was asked for
    assert len(written.samples) == 2
    assert written.precision == written.options["precision"]
    assert written.runner == sha256(runner_file("openvino"))
    assert written.inputs == sha256(folder / "golden.npz")
    assert written.unidentified == ()
    assert written.missing == {}


def test_the_artifact_is_the_model_and_nothing_else(bundle: MakeBundle) -> None:
    manifest = load_bundle(bundle("openvino"))
    other = File(sha256="0" * 64, bytes=1)
    same = manifest.model_copy(update={"files": {**manifest.files, "golden.npz": other}})
    changed = manifest.model_copy(update={"files": {**manifest.files, "model.bin": other}})
    assert artifact(same) == artifact(manifest)
    assert artifact(changed) != artifact(manifest)


@pytest.mark.parametrize("content", ["{\n", "[]\n", "1\n", "\xff", '{"time": "x"}\n'])
def test_what_is_not_a_row_is_refused_by_its_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(BadInputError, match=r"results\.jsonl"):
        read_rows(path)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        read_rows(tmp_path / "none.jsonl")


def test_whoever_adds_at_the_same_time_loses_no_row_and_a_torn_line_goes(tmp_path: Path) -> None:
    path, one = tmp_path / "results.jsonl", measured(1.0)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(64):
            pool.submit(append_rows, path, [one, one])
    with path.open("a") as stream:
        stream.write('{"format":1,"time":"2026')  # a process that was killed
    append_rows(path, [one])
    assert read_rows(path) == [one] * 129


def test_a_torn_line_goes_however_long_it_is(tmp_path: Path) -> None:
    path, one = tmp_path / "results.jsonl", measured(1.0)
    append_rows(path, [one])
    with path.open("a") as stream:
        stream.write('{"format":1,' + "x" * 200_000)  # more than is looked at in one go
    append_rows(path, [one])
    assert read_rows(path) == [one] * 2


def test_a_whole_row_stays_whose_line_nobody_has_ended(tmp_path: Path) -> None:
    path, first, second, third = tmp_path / "results.jsonl", measured(1.0), measured(2.0), measured(3.0)
    append_rows(path, [first])
    path.write_bytes(path.read_bytes().rstrip())  # as editors do
    append_rows(path, [second])
    path.write_bytes(path.read_bytes().rstrip())
    assert keep_rows(path, [second, third]) == 0
    assert read_rows(path) == [first, second, third]


@pytest.mark.parametrize("content", ["weights", "a line\n{}", '{"an": "answer"}'])
def test_a_file_of_something_else_keeps_its_last_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_text(content)
    with pytest.raises(BadInputError, match=r"model\.onnx: it holds something else than rows"):
        append_rows(path, [])
    assert path.read_text() == content


def test_lines_end_where_json_lines_end(tmp_path: Path) -> None:
    path, one = tmp_path / "results.jsonl", measured(1.0, target="a\u2028b")
    path.write_text(json.dumps(one.model_dump(mode="json"), ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_rows(path) == [one]


def test_a_row_that_was_edited_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    append_rows(path, [measured(1.0), measured(2.0)])
    path.write_bytes(path.read_bytes().replace(b'"batch":1', b'"batch":2', 1))
    with pytest.raises(BadInputError, match=r"results\.jsonl:1: the row is damaged"):
        read_rows(path)


def test_rows_are_kept_once_and_damaged_lines_are_dropped(tmp_path: Path) -> None:
    path, first, second = tmp_path / "results.jsonl", measured(1.0), measured(2.0, label="float")
    for _ in range(2):
        assert keep_rows(path, [first, second]) == 0
    assert read_rows(path) == [first, second]
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    assert keep_rows(path, [first, second]) == 1
    assert read_rows(path) == [second, first]
