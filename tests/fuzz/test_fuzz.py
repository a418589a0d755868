"""Mutated files: an error of one line or a correct result; never a crash, a hang, or a wrong file.

12,100 mutations here, half a minute of CPU, most of it to start the processes; `make fuzz` tries `EDGEKD_FUZZ` of each
reader, other seeds every time.
"""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_model
from tests.fuzz.readers import READERS
from tests.fuzz.worker import SECONDS

COUNT = int(os.environ.get("EDGEKD_FUZZ", 1_100))
CHUNK = 5_000
START = int(os.environ.get("EDGEKD_FUZZ_START", 0))
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("reader", READERS)
def test_a_mutated_file_is_refused_or_read(reader: str) -> None:
    refused = read = 0
    for start in range(START, START + COUNT, CHUNK):
        chunk = min(CHUNK, START + COUNT - start)
        argv = [sys.executable, "-m", "tests.fuzz.worker", reader, str(start), str(start + chunk)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=chunk + 300)
        last = ended.stdout.splitlines()[-1:]
        assert ended.returncode == 0, f"exit {ended.returncode} at seed {last}: {ended.stderr[-3000:]}"
        done, *counts = last[0].split()
        assert done == "done"
        refused, read = refused + int(counts[0]), read + int(counts[1])
    assert refused + read == COUNT
    assert refused > COUNT // 10  # the mutations do damage
    assert read  # and some of them do none


def test_the_same_seed_is_the_same_mutation() -> None:
    content = b'{"a": [1, {"b": 2}]}'
    for mutate in (mutate_bytes, mutate_json):
        assert [mutate(content, Random(seed)) for seed in range(50)] == [mutate(content, Random(s)) for s in range(50)]
        assert len({mutate(content, Random(seed)) for seed in range(50)}) > 25


def test_a_model_whose_fields_are_mutated_still_parses(tmp_path: Path) -> None:
    content = READERS["onnx-qdq-fields"].make(tmp_path).read_bytes()
    mutated = {mutate_model(content, Random(seed)) for seed in range(20)}
    assert len(mutated) > 15


@pytest.mark.parametrize(("code", "words"), [("import os; os.abort()", -6), ("while True: pass", 1)])
def test_a_crash_and_a_hang_are_seen(tmp_path: Path, code: str, words: int) -> None:
    """The worker reports what it is there to find: a reader that dies, and one that never ends."""
    script = (
        "import tests.fuzz.worker as w, tests.fuzz.readers as r, dataclasses\n"
        "w.SECONDS = 1\n"
        "calls = []\n"
        f"def read(path):\n    calls.append(path)\n    if len(calls) > 1:\n        {code}\n"
        "r.READERS['x'] = dataclasses.replace(r.READERS['golden-bytes'], read=read)\n"
        "w.main('x', 7, 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == words, ended.stderr
    assert ended.stdout.splitlines() == ["7"]
    assert SECONDS > 1
