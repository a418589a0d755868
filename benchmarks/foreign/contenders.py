"""Who quantises a network: `edgekd export` as a user types it, and peers in environments of their own."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.foreign.comparators import Answers, compare
from benchmarks.foreign.networks import Network, like
from benchmarks.foreign.packages import CACHE
from benchmarks.peers.environment import Peer
from edgekd.backends.conversion import from_bundle, to_bundle
from edgekd.bundle import load_bundle
from edgekd.devices import open_device
from edgekd.errors import EdgekdError
from edgekd.measure import predict
from edgekd.runner.bundle import write_arrays

RUNTIMES = ("tflite", "openvino", "onnxruntime")
PEERS = {
    "ORT static": Peer("onnxruntime_static_foreign", ("onnxruntime",), "answers.npz"),
    "NNCF": Peer("nncf_foreign", ("openvino",), "answers.npz"),
}
LONGEST = 900  # s
SHIPPED, SAID = {0, 4}, {0, 1, 2, 4}


def ours(network: Network, runtime: str, draw: int) -> dict[str, Any]:
    """One export: how it ended, what is in the bundle, how well that does the network's task."""
    out = CACHE / "bundles" / f"{network.name}-{runtime}-{draw}"
    code, seconds, megabytes, printed, said = _export(network, runtime, draw, out)
    found: dict[str, Any] = {"exit": code, "seconds": round(seconds, 1), "peak_mb": megabytes}
    left = sorted(out.glob("*/manifest.json"))
    if code not in SHIPPED:
        status = "failed" if code == 1 else "refused" if code == 2 else "crashed"
        return found | {"status": status, "reason": said, "left": [str(path.parent) for path in left]}
    report = json.loads(printed)
    found |= {key: report[key] for key in ("notes", "db_from_float", "bytes", "reason") if report.get(key)}
    found |= {"kept": len((report.get("refined") or {}).get("kept", []))}
    status = report["status"] if report["status"] != "ok" else "mixed" if found["kept"] else "int8"
    found |= {"status": status, "precision": report.get("precision", "int8")}
    try:
        return found | _judged(network, _answers(left[0].parent, network))
    except (EdgekdError, ValueError, KeyError, IndexError) as error:
        return found | {"status": "crashed", "reason": f"the bundle does not answer: {error}"}


def _export(network: Network, runtime: str, draw: int, out: Path) -> tuple[int, float, int, str, str]:
    """The command's exit code, wall time, peak memory of its largest process, what it printed and its last line."""
    given = network.given(draw)
    calibration = out.with_suffix(".npz")
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with np.load(given / "calibration.npz") as file:
        arrays = {name: np.moveaxis(file[name], 0, network.batch_axes.get(name, 0)) for name in file}
    write_arrays(calibration, arrays)
    baked = [text for name, value in network.settings.items() for text in ("--set", f"{name}={value}")]
    command = [
        sys.executable,
        "-m",
        "edgekd",
        "export",
        str(network.model()),
        "--target",
        f"x86-{runtime}",
        "--json",
        "--no-bench",
    ]
    command += ["--calibration", str(calibration), "--out", str(out), *baked]
    with (out.with_suffix(".out")).open("w+") as printed, (out.with_suffix(".err")).open("w+") as said:
        started = time.monotonic()
        process = subprocess.Popen(["timeout", str(LONGEST), *command], stdout=printed, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        printed.seek(0)
        said.seek(0)
        lines = said.read().strip().splitlines() or [""]
        return process.returncode, seconds, usage.ru_maxrss // 1024, printed.read(), _without_place(lines[-1])


def _without_place(line: str) -> str:
    """A message without where on this machine it was said."""
    return line.replace(f"{Path.cwd()}/", "")[:600]


def _answers(bundle: Path, network: Network) -> Answers:
    """What a bundle answers to the test samples."""
    manifest, tests = load_bundle(bundle), network.tests()
    stored = {spec.name: to_bundle(spec, tests[spec.name]) for spec in manifest.inputs}
    with closing(open_device("local:")) as device:
        given = predict(device, bundle, stored, manifest.batch)
    named = {spec.name: from_bundle(spec, given[spec.name]) for spec in manifest.outputs}
    return like(
        [{name: values[row] for name, values in named.items()} for row in range(network.evaluation)],
        network.float_answers(),
    )


def theirs(network: Network, peer: str, draw: int) -> dict[str, Any]:
    """What a peer's answers are worth; a reason where there are none."""
    started = time.monotonic()
    try:
        with np.load(PEERS[peer].make(network.given(draw))) as file:
            arrays = dict(file)
    except EdgekdError as error:
        return {"status": "failed", "reason": _without_place(str(error))}
    rows = [{name: values[row] for name, values in arrays.items()} for row in range(network.evaluation)]
    judged = _judged(network, like(rows, network.float_answers()))
    return {"status": "int8", "seconds": round(time.monotonic() - started, 1)} | judged


def _judged(network: Network, answers: Answers) -> dict[str, Any]:
    return {"task": compare(network.float_answers(), answers, network.comparator)}
