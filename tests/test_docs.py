"""README and docs/ are true: tables are those of the results, links lead somewhere, snippets are what edgekd takes.

`make test-docs` also runs the blocks of Python, and of the console.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
import typer
import yaml

from benchmarks.tables import stale
from edgekd.cli import app
from edgekd.pipeline.fleet import parse_devices
from edgekd.recipe import Recipe
from edgekd.target import Target
from tests.markdown_pages import PAGES, ROOT, anchors, commands, links, snippets

STARTER = tomllib.loads(files("edgekd.starters").joinpath("images.toml").read_text(encoding="utf-8"))
LANGUAGES = {"bash", "console", "python", "toml", "text", "yaml"}


def test_tables_are_those_of_the_results() -> None:
    assert [page.name for page, _ in stale()] == [], "run: python -m benchmarks.tables"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        assert len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)) % 2 == 0
    assert {snippet.language for snippet in snippets()} <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("snippet", snippets("bash", "console"), ids=lambda snippet: snippet.page)
def test_commands_parse(snippet) -> None:
    """Options and arguments exist; what they name need not."""
    group = typer.main.get_command(app)
    for line in commands(snippet):
        _, name, *words = shlex.split(line.split("||")[0], comments=True)
        if not name.startswith("--"):
            group.commands[name].make_context(name, words)


def test_make_targets_exist() -> None:
    known = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:`|^)make ([a-z][\w-]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= known, page.name


@pytest.mark.parametrize("snippet", snippets("yaml"), ids=lambda snippet: snippet.page)
def test_a_workflows_steps_give_an_action_what_it_takes(snippet) -> None:
    for step in yaml.safe_load(snippet.text):
        action = yaml.safe_load((ROOT / step["uses"] / "action.yml").read_text(encoding="utf-8"))
        required = {name for name, told in action["inputs"].items() if told.get("required")}
        assert required <= step["with"].keys() <= action["inputs"].keys()


@pytest.mark.parametrize("snippet", snippets("toml"), ids=lambda snippet: snippet.page)
def test_toml_is_what_edgekd_reads(snippet, tmp_path) -> None:
    document = tomllib.loads(snippet.text)
    if "backend" in document:
        Target.parse({"name": "mine"} | document, snippet.page)
    elif isinstance(document.get("devices"), list):
        (tmp_path / "fleet.toml").write_text(snippet.text)
        assert parse_devices((), tmp_path / "fleet.toml")
    else:
        Recipe.parse({"name": "mine"} | _with_the_rest(document), snippet.page)


def _with_the_rest(document):
    """A part of a recipe in a whole one."""
    if document.get("targets"):
        return STARTER | {"devices": {}} | document
    return STARTER | document


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.name)
def test_blocks_run_in_their_order(page, tmp_path) -> None:
    """Python in a process of its own, the console's lines one by one, all of a page in one folder."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    for snippet in snippets("python", "console"):
        if snippet.page == page.name:
            lines = [snippet.text] if snippet.language == "python" else commands(snippet)
            for line in lines:
                command = [sys.executable, "-c", line] if snippet.language == "python" else shlex.split(line)
                done = subprocess.run(
                    command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
