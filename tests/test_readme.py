"""The README's own snippet: a user's model and data, distilled in ten lines, run exactly as printed."""

import re
import subprocess
import sys
from pathlib import Path

from tests.small_run import edgekd

README = Path(__file__).parents[1] / "README.md"


def snippet():
    (found,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return found


def test_it_is_short():
    assert len(snippet().splitlines()) <= 15


def test_it_runs_and_says_what_it_bought(tmp_path):
    assert edgekd("init", tmp_path / "recipe.toml").exit_code == 0
    (tmp_path / "script.py").write_text(snippet(), encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    for words in (
        "teacher",
        "scratch student",
        "distilled student",
        "Distillation tax",
        "Gap recovered",
        "Agreement",
    ):
        assert words in done.stdout
    assert float(done.stdout.splitlines()[-1].removesuffix(" ms")) > 0
    assert (tmp_path / "bundles" / "student-x86-onnxruntime" / "manifest.json").is_file()
