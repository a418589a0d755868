"""Packages that only carry data: a test that needs one skips without it, or fails where EDGEKD_REQUIRE_DATA=1."""

from importlib.util import find_spec

from tests.missing import miss


def need(*packages: str) -> None:
    """Skip, or fail, unless all of these can be imported; names as in `import`."""
    missing = [package for package in packages if not _installed(package)]
    if missing:
        miss("data", f"not installed: {', '.join(missing)}")


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # a parent of it is missing
        return False
