"""Arrays on disk that grow row by row: a kill or a full disk loses what was not committed and nothing else.

Rows are appended with `write`, not through a memory map: into a map, a full disk is a SIGBUS.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from edgekd.data.dataset import Array
from edgekd.errors import DamagedError
from edgekd.files import needs_room, read_sealed, sync, write_sealed

DONE = "done.json"
_PIECE = 1 << 20  # bytes


class RowWriter:
    """`.npy` files in `folder` that will have `total` rows each; `done` of them are safe.

    Opened again after an interruption it goes on behind them, without looking at them again (see `safe_rows`). As a
    context it commits on Ctrl-C. Raises DiskFullError.
    """

    def __init__(self, folder: Path, example: Mapping[str, Array], total: int) -> None:
        self._folder, self._files = folder, dict[str, _Hashed]()
        self.done = self._written = safe_rows(folder)
        with needs_room(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, rows in example.items():
                self._files[name] = _Hashed(folder / f"{name}.npy", rows, total, self.done)

    def append(self, rows: Mapping[str, Array]) -> None:
        """Add rows to every file."""
        with needs_room(self._folder):
            for name, file in self._files.items():
                file.write(rows[name].data.cast("B"))
        self._written += len(next(iter(rows.values())))

    def commit(self) -> None:
        """Make what was appended safe."""
        with needs_room(self._folder):
            files = {f"{name}.npy": file.commit() for name, file in self._files.items()}
            write_sealed(self._folder / DONE, {"rows": self._written, "files": files})
        self.done = self._written

    def finish(self, folder: Path) -> None:
        """Commit the last rows and give the whole its final name."""
        self.commit()
        self._close()
        self._folder.rename(folder)
        sync(folder.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            self.commit()
        self._close()

    def _close(self) -> None:
        for file in self._files.values():
            with suppress(OSError):  # on a full disk even closing tries to write
                file.close()


def open_rows(path: Path) -> Array:
    """A finished array, memory-mapped."""
    return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)


def safe_rows(folder: Path) -> int:
    """Return how many rows of a folder are safe, 0 if there is none; raise DamagedError where one is not as it was."""
    committed = read_sealed(folder / DONE)
    if committed is None:
        return 0
    for name, known in committed["files"].items():
        if _hashed_prefix(folder / name, known["bytes"]).hexdigest() != known["sha256"]:
            raise DamagedError(folder / name)
    rows: int = committed["rows"]
    return rows


class _Hashed:
    """An `.npy` file that is appended to, and the digest of all that is in it."""

    def __init__(self, path: Path, rows: Array, total: int, done: int) -> None:
        self._file: BinaryIO = path.open("r+b" if done else "w+b")
        described = np.lib.format.dtype_to_descr(rows.dtype)
        header = {"descr": described, "fortran_order": False, "shape": (total, *rows.shape[1:])}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()
        self._bytes = self._file.tell() + done * rows[0].nbytes
        self._digest = _hashed_prefix(path, self._bytes)
        self._file.seek(self._bytes)
        self._file.truncate()

    def write(self, content: memoryview) -> None:
        self._digest.update(content)
        self._bytes += self._file.write(content)

    def commit(self) -> dict[str, Any]:
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        self._file.close()


def _hashed_prefix(path: Path, count: int) -> Any:
    """The running SHA-256 of a file's first `count` bytes, or of all where it has fewer or is not there."""
    state = hashlib.sha256()
    with suppress(FileNotFoundError), path.open("rb") as file:
        while piece := file.read(min(_PIECE, count)):
            state.update(piece)
            count -= len(piece)
    return state
