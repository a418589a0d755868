import json

import pytest

from tests import missing, properties
from tests.small_run import SmallRun, finish, start, write_recipe

properties.register()


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """One finished run for all tests, which only read it: a copy is theirs to damage."""
    folder = tmp_path_factory.mktemp("small_run")
    recipe, data = write_recipe(folder)
    finished = finish(start("run", recipe, "--out", folder / "run", "--json"))
    assert finished.returncode == 0, finished.stderr
    return SmallRun(recipe, data, folder / "run", json.loads(finished.stdout))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The minutes of quickstart come last: whatever is quick fails first."""
    items.sort(key=lambda item: item.path.name == "test_quickstart.py")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in a line what was skipped for want of something, and the command that brings it."""
    skipped = terminalreporter.stats.get("skipped", [])
    for line in missing.summary(report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)):
        terminalreporter.write_line(line, yellow=True)
