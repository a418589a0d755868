"""The folders of data that ship with edgekd: inside the package in a wheel, beside it in a clone."""

from pathlib import Path


def _folder(name: str) -> Path:
    shipped = Path(__file__).with_name(f"_{name}")
    return shipped if shipped.is_dir() else Path(__file__).parents[1] / name


TARGETS = _folder("targets")
EXPORT = _folder("export")
