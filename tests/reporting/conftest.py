"""A run folder as the pipeline leaves it, with every status that a target can have."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest

from edgekd.reporting.html import render
from edgekd.reporting.run_record import RunRecord

_ENDS = {"teacher": (10, 0.905), "scratch": (12, 0.878), "student": (12, 0.889), "qat/int8-asymmetric": (2, 0.887)}


@pytest.fixture(scope="session")
def sample_run() -> dict[str, Any]:
    """A run with every status that a target can have; not to be changed, `run` is a copy."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("sample_run.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, sample_run: dict[str, Any]) -> str:
    """The sample's report, drawn once."""
    folder = tmp_path_factory.mktemp("run")
    write_histories(folder)
    return render(RunRecord.of(sample_run), folder)


@pytest.fixture
def run(sample_run: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(sample_run)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_histories(tmp_path)
    return tmp_path


def write_histories(folder: Path) -> None:
    for stage, (epochs, end) in _ENDS.items():
        rows = []
        for epoch in range(1, epochs + 1):
            rest = math.exp(-4 * epoch / epochs)
            loss = {"cross_entropy": 0.3 + rest, "kd": 0.1 + rest}
            value = end - 0.25 * rest + 0.004 * math.sin(9 * epoch)
            rows.append(
                {"epoch": epoch, "loss": sum(loss.values()), "val": value, "learning_rate": rest, "terms": loss}
            )
        (folder / stage).mkdir(parents=True, exist_ok=True)
        (folder / stage / "history.json").write_text(json.dumps(rows))
