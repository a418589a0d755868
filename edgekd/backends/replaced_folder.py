"""A bundle's folder, replaced as a whole: what is new lies in a hidden sibling until it is complete."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from edgekd.bundle import MANIFEST
from edgekd.errors import BadInputError
from edgekd.files import needs_room, sync
from edgekd.locks import lock

NEW, OLD, ALIVE = "new", "old", "alive"


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty sibling that becomes `folder` when the block succeeds; only a bundle or nothing is replaced."""
    if folder.exists() and not (folder / MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInputError(f"{folder} exists and is not a bundle: choose another place")
    with needs_room(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _sibling(folder) as sibling:
            scratch = sibling / NEW
            scratch.mkdir()
            yield scratch
            for path in (*scratch.iterdir(), scratch):
                sync(path)
            if folder.exists():
                folder.rename(sibling / OLD)
            scratch.rename(folder)
        sync(folder.parent)


@contextmanager
def _sibling(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder that holds a lock as long as this process lives; those of the dead go first.

    The lock is a file's: another folder may be replaced inside, which locks the hidden one for a moment.
    """
    with ExitStack() as held:
        with _locked(folder.parent):  # nobody sweeps a sibling that is not locked yet
            _sweep(folder)
            sibling = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
            (sibling / ALIVE).touch()
            held.enter_context(_locked(sibling / ALIVE))
        try:
            yield sibling
        finally:
            shutil.rmtree(sibling, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed process was about to put in place, and give back what it had moved away."""
    name = re.compile(rf"\.{re.escape(folder.name)}\.\w{{8}}")
    for left in [path for path in folder.parent.iterdir() if name.fullmatch(path.name) and path.is_dir()]:
        (left / ALIVE).touch()
        with suppress(BlockingIOError), _locked(left / ALIVE, wait=False):
            if (left / OLD).is_dir() and not folder.exists():
                (left / OLD).rename(folder)
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    handle = os.open(path, os.O_RDONLY)
    try:
        lock(handle, wait=wait)
        yield
    finally:
        os.close(handle)
