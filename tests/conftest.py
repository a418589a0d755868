import json

import pytest
from hypothesis import settings

from tests.road import Road, finish, start, write_recipe

# The same examples on every machine, however slow: a failure is found again, and none is a matter of load.
settings.register_profile("edgekd", deadline=None, derandomize=True)
settings.load_profile("edgekd")


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """One finished run for all tests, which only read it: a copy is theirs to damage."""
    folder = tmp_path_factory.mktemp("road")
    recipe, data = write_recipe(folder)
    finished = finish(start("run", recipe, "--out", folder / "run", "--json"))
    assert finished.returncode == 0, finished.stderr
    return Road(recipe, data, folder / "run", json.loads(finished.stdout))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The minutes of quickstart come last: whatever is quick fails first."""
    items.sort(key=lambda item: item.path.name == "test_quickstart.py")
