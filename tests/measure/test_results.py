import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgekd.bundle import File, load_bundle
from edgekd.devices import open_device
from edgekd.errors import BadInputError
from edgekd.files import sha256
from edgekd.measure import measure
from edgekd.measure.facts import machine_facts
from edgekd.measure.results import append_rows, artifact, read_rows, row
from tests.export.runner import RUNNER
from tests.measure.bundles import MakeBundle
from tests.measure.test_comparison import measured


def test_a_measurement_survives_the_file(bundle: MakeBundle, tmp_path: Path) -> None:
    device = open_device("local:")
    folder = bundle("openvino", "float")
    measured = measure(device, {"bf16": (folder, {"precision": "default"})}, replicates=2, seconds=0.01, count=5)
    written = row(machine_facts(device), load_bundle(folder), "bf16", measured["bf16"], metric=("accuracy", 0.5))
    device.close()
    append_rows(tmp_path / "results.jsonl", [written])
    append_rows(tmp_path / "results.jsonl", [written])
    assert read_rows(tmp_path / "results.jsonl") == [written, written]
    assert written.runtime == "OpenVINO"
    assert written.options["precision"] in ("bf16", "f16", "f32")  # what ran, not what was asked for
    assert len(written.samples) == 2
    assert written.precision == written.options["precision"]
    assert written.runner == sha256(RUNNER)
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
    with pytest.raises(BadInputError, match="not a readable results file"):
        read_rows(tmp_path / "none.jsonl")


def test_facts_that_are_not_there_have_a_reason() -> None:
    device = open_device("local:")
    machine = machine_facts(device)
    device.close()
    absent: dict[str, Any] = {
        key: value for key, value in json.loads(machine.model_dump_json()).items() if value is None
    }
    assert set(absent) == set(machine.missing)
    assert machine.cores >= 1
    assert machine.python is not None
    assert machine.memory_mb is None or machine.memory_mb > 100


def test_whoever_adds_at_the_same_time_loses_no_row_and_a_torn_line_goes(tmp_path: Path) -> None:
    path, one = tmp_path / "results.jsonl", measured(1.0)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(64):
            pool.submit(append_rows, path, [one, one])
    with path.open("a") as stream:
        stream.write('{"time": "2026')  # a process that was killed
    append_rows(path, [one])
    assert read_rows(path) == [one] * 129


def test_a_phone_is_named_by_its_properties_and_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"ro.product.manufacturer": "Google", "ro.product.model": "Pixel 9", "ro.soc.model": "Tensor G4"}
    cases = "".join(f"{name}) echo '{value}';; " for name, value in said.items())
    (tmp_path / "getprop").write_text(f'#!/bin/sh\ncase "$1" in {cases}esac\n')
    (tmp_path / "cat").write_text(
        '#!/bin/sh\ncase "$1" in */cpuinfo) printf "CPU part\t: 0xd82\nCPU part\t: 0xd80\nCPU part\t: 0xd82\n";; esac\n'
    )
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    device = open_device("local:")
    machine = machine_facts(device)
    device.close()
    assert machine.android == said
    assert machine.parts == ("0xd80", "0xd82")
    assert machine.cpu == "Google Pixel 9, Tensor G4"
