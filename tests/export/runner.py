"""The runner as a device sees it: a subprocess that prints records."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).parents[2] / "export" / "run.py"


def run(verb: str, folder: Path, *arguments: str, shadow: Path | None = None) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and records; modules in `shadow` hide installed ones."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"PYTHONPATH": str(shadow)} if shadow else {})
    finished = subprocess.run(
        [sys.executable, RUNNER, verb, folder, *arguments], capture_output=True, text=True, env=environment, timeout=120
    )
    assert "Traceback" not in finished.stderr, finished.stderr
    records = [json.loads(line) for line in finished.stdout.splitlines()]
    assert records[-1]["record"] == "end"
    return finished.returncode, records


def failure(verb: str, folder: Path, *arguments: str, shadow: Path | None = None) -> tuple[int, str, str]:
    """Exit code, kind and message of a run that has to fail, before the model is loaded."""
    code, records = run(verb, folder, *arguments, shadow=shadow)
    end = records[-1]
    assert not end["ok"]
    return code, end["kind"], end["error"]


def module() -> Any:
    """run.py imported, for its pure functions."""
    specification = importlib.util.spec_from_file_location("edgekd_runner", RUNNER)
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded
