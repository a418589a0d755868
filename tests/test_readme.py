"""The README's own snippets: a user's model and data, by edgekd's loop and by one's own, run exactly as printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_run import edgekd

README = Path(__file__).parents[1] / "README.md"


def snippets():
    return re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_each_is_short():
    assert len(snippets()) == 2
    assert all(len(snippet.splitlines()) <= 15 for snippet in snippets())


def test_all_say_alike_how_long_the_demo_takes():
    pages = (README, README.parent / "docs/quick-start.md", README.parent / "Makefile")
    lines = [re.search(r"^(?:make demo|demo:).*", page.read_text(encoding="utf-8"), re.MULTILINE) for page in pages]
    assert len({re.search(r"\w+ to \w+ minutes", line[0])[0] for line in lines}) == 1


@pytest.mark.long
def test_it_runs_and_says_what_it_bought(tmp_path):
    assert edgekd("init", tmp_path / "recipe.toml").exit_code == 0
    (tmp_path / "script.py").write_text("".join(snippets()), encoding="utf-8")
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
    for name in ("student", "own-loop"):
        assert (tmp_path / "bundles" / f"{name}-x86-onnxruntime" / "manifest.json").is_file()
