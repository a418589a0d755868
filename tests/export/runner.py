"""The runner as a device sees it: a subprocess that prints records."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from edgekd.runner_source import write_runner
from edgekd.runtimes import backend_names

_FOLDER = tempfile.TemporaryDirectory(prefix="edgekd-runners-")


@cache
def runner_file(backend: str) -> Path:
    """A backend's runner as a device gets it."""
    folder = Path(_FOLDER.name) / backend
    folder.mkdir()
    return write_runner(backend, folder)


def runner_of(folder: Path) -> Path:
    """The runner of the backend that a bundle names; ONNX Runtime's where it names none."""
    try:
        backend = json.loads((folder / "manifest.json").read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        backend = None
    return runner_file(backend if backend in backend_names() else "onnxruntime")


def run(verb: str, folder: Path, *arguments: str, shadow: Path | None = None) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and records; modules in `shadow` hide installed ones."""
    environment = os.environ | ({"PYTHONPATH": str(shadow)} if shadow else {})
    argv = [sys.executable, runner_of(folder), verb, folder, *arguments]
    finished = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=120)
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


def module(backend: str = "onnxruntime") -> Any:
    """A backend's runner imported, for its functions."""
    specification = importlib.util.spec_from_file_location("edgekd_runner", runner_file(backend))
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded
