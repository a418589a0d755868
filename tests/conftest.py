import fcntl
import gc
import json
import os
import signal
from pathlib import Path

import pytest

# Before numpy and torch are imported, and for what the tests start: small networks gain nothing by a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from edgekd.backends.openvino.runtime import keep_to_itself
from tests import missing, properties, slowest
from tests.small_run import SmallRun, finish, start, write_recipe

keep_to_itself()  # before a file of tests imports OpenVINO
properties.register()
gc.disable()  # until all tests are imported: see pytest_collection_finish

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# So would what `nohup` starts ignore that the terminal is gone; a handler, unlike SIG_IGN, is not inherited.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda number, frame: None)

# What takes longest comes first, so that no process is left with it while the others idle; of the first three only
# `test_faults` takes the small run, for which the others would wait.
LONGEST = (
    "pipeline/test_strikes.py", "test_faults.py", "devices/test_remote.py", "pipeline/test_foreign.py",
    "devices/test_emulated.py", "examples/test_examples.py", "pipeline/test_pairs.py", "backends/test_layers.py",
    "devices/test_shipped_runner.py", "training/test_processes.py", "pipeline/test_export.py",
)  # fmt: skip


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> SmallRun:
    """One finished run for all tests, of all processes, which only read it: a copy is theirs to damage."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "small_run"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        printed = folder / "printed.json"
        if not printed.exists():
            printed.write_text(_take(folder))
    return SmallRun(folder / "tiny.toml", folder / "tiny.npz", folder / "run", json.loads(printed.read_text()))


def _take(folder: Path) -> str:
    recipe, _ = write_recipe(folder)
    finished = finish(start("run", recipe, "--out", folder / "run", "--json"), 1200)  # the others wait for it
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort what takes longest to the front; with --dist loadfile, --no-loadscope-reorder keeps it there."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Let the collector look at what tests leave, now and then; a million objects that are imported stay to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which files took longest, and in a line what was skipped for want of something and what brings it."""
    told = [report for reports in terminalreporter.stats.values() for report in reports]
    for line in slowest.summary(report for report in told if isinstance(report, pytest.TestReport)):
        terminalreporter.write_line(line)
    skipped = terminalreporter.stats.get("skipped", [])
    for line in missing.summary(report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)):
        terminalreporter.write_line(line, yellow=True)
