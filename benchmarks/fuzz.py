"""Mutated files, a hundred thousand of them: what edgekd's readers make of each, in a process of its own.

Spread evenly over the readers of `tests/fuzz/readers.py`, whose workers fork once per file, with 10 s of CPU time and
1 GB of memory above what they have. `confined` counts crashes of native ONNX parsers, which `edgekd export` runs in a
process that may die. 300 more go through the real command line. Resumable: chunks are written as they are done.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from edgekd.devices import open_device
from edgekd.files import write_json
from edgekd.measure.facts import machine_facts
from edgekd.pipeline.summary import versions
from tests.fuzz.readers import READERS

RESULTS = Path(__file__).parent / "results" / "fuzz.json"
ROOT = Path(__file__).parents[1]
CHUNK, COMMANDS = 1000, 300
SUMS, MOST = ("count", "accepted", "refused", "bugs", "killed", "confined"), ("slowest_s", "peak_mb")
LINES = {  # what a user types, by reader
    "recipe": ["run", "{path}", "--dry-run"],
    "target": ["export", "model.onnx", "--target", "{path}"],
    "fleet": ["verify", "{folder}", "--fleet", "{path}"],
    "manifest-values": ["verify", "{folder}"],
    "results": ["compare", "{path}", "{path}"],
    "run-values": ["report", "{folder}"],
    "npz-headers": ["export", "model.onnx", "--target", "x86-onnxruntime", "--calibration", "{path}"],
    "onnx-float-bytes": ["export", "{path}", "--target", "x86-onnxruntime", "--calibration", "{folder}/x.npz"],
    "onnx-float-fields": ["export", "{path}", "--target", "x86-onnxruntime", "--calibration", "{folder}/x.npz"],
    "onnx-qdq-fields": ["export", "{path}", "--target", "x86-onnxruntime", "--calibration", "{folder}/x.npz"],
}


def main() -> None:
    """Go on until every reader has had its share, then through the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, default=RESULTS)
    given = options.parse_args()
    document = json.loads(given.out.read_text()) if given.out.is_file() else {}
    if document.get("seed") != given.seed:
        document = {"seed": given.seed, "readers": {}, "command_line": {"count": 0, "exits": {}, "bugs": []}}
    with closing(open_device("local:")) as device:
        document |= {"machine": machine_facts(device).model_dump(mode="json"), "versions": versions()}
    share = -(-given.count // len(READERS))
    for start in range(0, share, CHUNK):  # all readers grow together
        for name in READERS:
            done = document["readers"].setdefault(name, {"count": 0})
            stop = min(start + CHUNK, share)
            if done["count"] < stop:
                _add(done, _chunk(name, given.seed + done["count"], given.seed + stop))
                write_json(given.out, document)
    _command_line(document, given.out)
    print(json.dumps({key: sum(row[key] for row in document["readers"].values()) for key in SUMS}))


def _chunk(name: str, start: int, stop: int) -> dict[str, Any]:
    argv = [sys.executable, "-m", "tests.fuzz.worker", name, str(start), str(stop)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(argv, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def _add(done: dict[str, Any], chunk: dict[str, Any]) -> None:
    done |= {key: done.get(key, 0) + chunk[key] for key in SUMS} | {
        key: max(done.get(key, 0), chunk[key]) for key in MOST
    }
    done["seeds"] = [*done.get("seeds", []), *chunk["seeds"]][:20]


def _command_line(document: dict[str, Any], out: Path) -> None:
    """The next seeds of the readers that a command has, one process each."""
    told = document["command_line"]
    exits = Counter(told["exits"])
    for number in range(told["count"], COMMANDS):
        name = list(LINES)[number % len(LINES)]
        code = _typed(name, document["seed"] + 10**6 + number)
        exits[str(code)] += 1
        told |= {"count": number + 1, "exits": dict(exits)}
        if code not in (0, 1, 2, 3, 4):
            told["bugs"].append({"reader": name, "seed": document["seed"] + 10**6 + number, "exit": code})
        write_json(out, document)


def _typed(name: str, seed: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = READERS[name].make(Path(folder))
        path.write_bytes(READERS[name].mutate(path.read_bytes(), Random(seed)))
        words = [word.format(path=path, folder=folder) for word in LINES[name]]
        if "model.onnx" in words:
            READERS["onnx-float-bytes"].make(Path(folder))
        argv = [sys.executable, "-m", "edgekd", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, timeout=600).returncode


if __name__ == "__main__":
    main()
