"""What a run of quickstart promises, in points of accuracy; EDGEKD_RECIPE puts another recipe in its place."""

import json
import os
from pathlib import Path
from typing import Any

from tests import host
from tests.small_run import EXECUTED, finish, start

RECIPE = os.environ.get("EDGEKD_RECIPE", "quickstart")
SCHEDULED = 3600.0  # seconds after which a run hangs


def take(folder: Path, *arguments: Any) -> dict[str, Any]:
    """run.json of the whole run, as a user takes it: at the recipe's own threads."""
    finished = finish(start("run", RECIPE, "--out", folder, "--json", *arguments), SCHEDULED)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def assert_proven(run: dict[str, Any]) -> None:
    """Every executed target has parity, the TensorRT graph passed lint and check, and all of it runs in int8."""
    targets = dict(run["targets"])
    browser = targets.pop("web-onnxruntime")  # optional
    assert browser["status"] == "ok" or browser["reason"].endswith(("edgekd web install", "apt-get install chromium"))
    assert {name: target["status"] for name, target in targets.items()} == {
        **dict.fromkeys(EXECUTED, "ok"),
        "jetson-orin-nano": "unverified",
    }
    for name in EXECUTED:
        assert {row["batch"] for row in targets[name]["parity"]} >= {1, 8}
        assert all(row["ok"] for row in targets[name]["parity"])
    for name, target in targets.items():
        layers = target["kernels"]["total"]
        assert layers > 0
        assert target["kernels"]["int8"] == host.int8_kernels(name, layers), target["reason"]


def assert_int8_keeps(run: dict[str, Any], drop: float) -> None:
    """On every executed target int8 is, on average over the seeds, at most `drop` below float."""
    for name in EXECUTED:
        means = {label: row["metric"]["mean"] for label, row in run["targets"][name]["variants"].items()}
        assert means["int8"] >= means["float"] - drop, name
