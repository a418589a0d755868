"""Text that leaves for a terminal or a page: nothing in it commands, hides or turns anything around."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.table import Table
from rich.text import Text

from edgekd import screen, terminal
from edgekd.backends.pages import page
from edgekd.bundle import TensorSpec
from edgekd.progress import Reporter
from edgekd.reporting.html import write_report
from edgekd.reporting.tables import plain, text
from edgekd.runtimes import find_needs
from edgekd.screen import visible
from tests.small_run import complaint, edgekd

RED, C1, BELL, TURNED, TITLE = "\x1b[31m", "\x9b31m", "\x07", "\u202egnp.exe", "\x1b]0;x\x07"
HOSTILE = f"a{RED}b{C1}c{BELL}d{TURNED}e{TITLE}f\u2028g\x7f\ud800"
SHOWN = r"a\x1b[31mb\x9b31mc\x07d\u202egnp.exee\x1b]0;x\x07f\u2028g\x7f\ud800"
COMMANDS = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F))} - {"\n"}


def harmless(output: str) -> bool:
    return not COMMANDS & set(output)


def test_controls_are_shown_and_words_stay():
    assert visible(HOSTILE) == SHOWN
    assert visible("Größe 5 µm → 日本 🙂\\x1b") == "Größe 5 µm → 日本 🙂\\x1b"
    assert visible("a\nb\tc") == r"a\nb\tc"


@pytest.mark.parametrize("rows", [{HOSTILE: HOSTILE}, [{HOSTILE: HOSTILE}], {"a": [HOSTILE]}, {"a": [{"b": HOSTILE}]}])
def test_tables_show_them(rows, capsys):
    terminal.show(rows, as_json=False)
    printed = capsys.readouterr().out
    assert harmless(printed)
    assert r"\x1b[31mb" in printed.replace("\n", "")
    assert harmless(text(plain(rows)))


def test_cells_are_as_wide_as_what_they_show():
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in (f"{RED}x", "y"):
        table.add_row(Text(name), "end")
    first, second = text(table).split("\n")
    assert first.index("end") == second.index("end")


def test_every_console_is_a_screen():
    sources = [path for path in Path(screen.__file__).parent.rglob("*.py") if path != Path(screen.__file__)]
    assert not [path for path in sources if re.search(r"import .*\bConsole\b|\bprint_exc\b", path.read_text("utf-8"))]


def test_errors_lines_and_progress_show_them(capsys):
    terminal.complain(HOSTILE, 2)
    terminal.say(HOSTILE)
    Reporter().say(HOSTILE)
    with Reporter().track(HOSTILE, 1):
        pass
    printed = capsys.readouterr()
    assert harmless(printed.out + printed.err)
    bell_dropped = SHOWN.replace(r"\x07", "")  # as rich drops it
    assert printed.out.count(bell_dropped) == 1
    assert printed.err.replace(r"\x07", "").count(bell_dropped) == 3


@pytest.mark.parametrize("words", [[f"--{HOSTILE}"], [HOSTILE], ["run", f"--{HOSTILE}"], ["run", "a", HOSTILE]])
def test_usage_errors_show_them(words):
    refused = edgekd(*words)
    assert refused.exit_code == 2
    assert r"\x1b[31mb" in refused.stderr
    assert harmless(refused.output)


@pytest.mark.parametrize("name", ["README.md", "MICROCONTROLLER.md"])
def test_pages_that_leave_with_a_model_show_them(name):
    tensor = TensorSpec(name=HOSTILE, dtype="int8", shape=(1,))
    manifest = SimpleNamespace(
        name=HOSTILE, precision="int8", target="t", backend="tflm", footprint=None, batch=1, threads=1,
        inputs=[tensor], outputs=[tensor],
    )  # fmt: skip
    memory = {"flash_bytes": 1, "arena_bytes": 1, "macs": 1}
    shown = page(
        name, manifest=manifest, memory=memory, methods=[], needs=find_needs("tflm"), inputs=[tensor], outputs=[tensor]
    )
    assert SHOWN in shown
    assert harmless(shown)


def test_debug_shows_the_cause_and_nothing_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKD_DEBUG", "1")
    (tmp_path / f"{RED}.toml").write_text("=")
    shown = edgekd("run", tmp_path / f"{RED}.toml")
    assert shown.exit_code == 2
    assert "TOMLDecodeError" in shown.output
    assert harmless(shown.output)


def test_json_keeps_the_text_and_writes_it_in_ascii(capsys):
    terminal.show({"name": HOSTILE}, as_json=True)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert harmless(printed)
    assert json.loads(printed) == {"name": HOSTILE}


def test_a_page_shows_them(tmp_path):
    run = {
        "schema": 2,
        "title": HOSTILE,
        "machine": {HOSTILE: HOSTILE},
        "targets": {HOSTILE: {"backend": HOSTILE, "status": "failed"}},
    }
    (tmp_path / "run.json").write_text(json.dumps(run))
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert harmless(page.replace("\t", "").replace("\r", ""))
    assert SHOWN in page


def test_a_commands_error_is_one_line_that_shows_them(tmp_path):
    assert r"\x1b[31m\nx: not a bundle" in complaint(edgekd("verify", tmp_path / f"{RED}\nx"), 2)
