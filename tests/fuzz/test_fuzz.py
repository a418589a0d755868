"""Mutated files: an error of one line or a correct result; never a crash, a hang, or a wrong file.

A few of each reader here, all in one warm process; `make fuzz` tries 100,000 and keeps the figures.
"""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_model
from tests.fuzz.readers import READERS

COUNT = 12
ROOT = Path(__file__).parents[2]


def worker(*words: str, script: str = "") -> list[dict[str, object]]:
    argv = [sys.executable, *(("-c", script) if script else ("-m", "tests.fuzz.worker", *words))]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [json.loads(line) | {"told": ended.stderr} for line in ended.stdout.split("\n") if line]


def test_a_mutated_file_is_refused_or_read() -> None:
    tallies = worker("all", "0", str(COUNT))
    assert [tally["reader"] for tally in tallies] == list(READERS)
    for tally in tallies:
        assert not tally["bugs"], tally["told"]
        assert not tally["killed"], tally
        assert tally["count"] == COUNT
    assert sum(tally["refused"] for tally in tallies) > COUNT * len(READERS) // 3  # the mutations do damage
    assert sum(tally["accepted"] for tally in tallies) > COUNT  # and some of them do none


def test_the_same_seed_is_the_same_mutation() -> None:
    content = b'{"a": [1, {"b": 2}]}'
    for mutate in (mutate_bytes, mutate_json):
        assert [mutate(content, Random(seed)) for seed in range(50)] == [mutate(content, Random(s)) for s in range(50)]
        assert len({mutate(content, Random(seed)) for seed in range(50)}) > 25


def test_a_model_whose_fields_are_mutated_still_parses(tmp_path: Path) -> None:
    content = READERS["onnx-qdq-fields"].make(tmp_path).read_bytes()
    mutated = {mutate_model(content, Random(seed)) for seed in range(20)}
    assert len(mutated) > 15


@pytest.mark.parametrize(
    ("code", "confined", "kind"),
    [
        ("os.abort()", False, "killed"),
        ("os.abort()", True, "confined"),
        ("while True: pass", True, "killed"),
        ("1 / 0", True, "bugs"),
        ("bytearray(w.MEMORY * 2)", False, "bugs"),
    ],
)
def test_what_it_looks_for_is_seen(code: str, confined: bool, kind: str) -> None:
    """The worker reports what it is there to find, and where: at the second file."""
    script = (
        "import tests.fuzz.worker as w, tests.fuzz.readers as r, dataclasses, os\n"
        "w.CPU = 1\n"
        "parent = os.getpid()\n"
        f"def read(path):\n    if os.getpid() != parent and path.read_bytes() != b'7':\n        {code}\n"
        "def mutate(content, random):\n    return b'7' if random.random() == w.Random(7).random() else b'8'\n"
        f"r.READERS['x'] = dataclasses.replace(r.READERS['npz-bytes'], read=read, mutate=mutate, confined={confined})\n"
        "w.main('x', 7, 9)\n"
    )
    (tally,) = worker(script=script)
    assert (tally["count"], tally["accepted"], tally[kind], tally["seeds"]) == (2, 1, 1, [8])
