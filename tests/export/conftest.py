import shutil
from pathlib import Path

import pytest

from tests.export.c_runner import build
from tests.measure.bundles import MakeBundle, bundle, own_bundle

__all__ = ["bundle", "own_bundle"]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C runner of this machine."""
    return build(tmp_path_factory.mktemp("c"))


@pytest.fixture
def folder(bundle: MakeBundle, tmp_path: Path) -> Path:
    """A LiteRT bundle to damage."""
    return Path(shutil.copytree(bundle("tflite"), tmp_path / "bundle"))
