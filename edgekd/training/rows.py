"""Arrays on disk that grow row by row: a kill or a full disk loses what was not committed and nothing else.

Rows are appended with `write`, not through a memory map: into a map, a full disk is a SIGBUS.
"""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from edgekd.data.dataset import Array
from edgekd.errors import BadInputError
from edgekd.files import write_bytes

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DONE = "done"


class RowWriter:
    """`.npy` files in `folder` that will have `total` rows each; `done` of them are safe.

    Opened again after an interruption it goes on behind them. As a context it commits on the way out.
    """

    def __init__(self, folder: Path, example: Mapping[str, Array], total: int) -> None:
        self._folder, self._total, self._files = folder, total, dict[str, BinaryIO]()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.done = self._written = rows_done(folder)
            for name, rows in example.items():
                self._files[name] = _open_at(folder / f"{name}.npy", rows, total, self.done)
        except OSError as error:
            raise self._explained(error) from error

    def append(self, rows: Mapping[str, Array]) -> None:
        """Add rows to every file; raise BadInputError when the disk is full."""
        try:
            for name, file in self._files.items():
                file.write(rows[name].data)
        except OSError as error:
            raise self._explained(error) from error
        self._written += len(next(iter(rows.values())))

    def commit(self) -> None:
        """Make what was appended safe."""
        try:
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            write_bytes(self._folder / DONE, str(self._written).encode())
        except OSError as error:
            raise self._explained(error) from error
        self.done = self._written

    def finish(self, folder: Path) -> None:
        """Commit the last rows and give the whole its final name."""
        self.commit()
        self._close()
        (self._folder / DONE).unlink()
        self._folder.rename(folder)

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

    def _explained(self, error: OSError) -> BaseException:
        if error.errno not in FULL:
            return error
        safe = f"{rows_done(self._folder):,} of {self._total:,} samples are safe"
        return BadInputError(f"{self._folder}: the disk is full, {safe}: make room and run again to continue")


def open_rows(path: Path) -> Array:
    """A finished array, memory-mapped; raise BadInputError when it is damaged."""
    try:
        return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)
    except (OSError, ValueError) as error:
        raise _damaged(path) from error


def rows_done(folder: Path) -> int:
    """Rows that are safe in an unfinished folder, 0 if there is none."""
    path = folder / DONE
    try:
        return int(path.read_text()) if path.is_file() else 0
    except ValueError as error:
        raise _damaged(path) from error


def _open_at(path: Path, rows: Array, total: int, done: int) -> BinaryIO:
    if done and not path.is_file():
        raise _damaged(path)
    file = path.open("r+b" if done else "w+b")
    described = np.lib.format.dtype_to_descr(rows.dtype)
    header = {"descr": described, "fortran_order": False, "shape": (total, *rows.shape[1:])}
    np.lib.format.write_array_header_1_0(file, header)
    end = file.tell() + done * rows[0].nbytes
    if file.seek(0, os.SEEK_END) < end:
        raise _damaged(path)
    file.seek(end)
    file.truncate()
    return file


def _damaged(path: Path) -> BadInputError:
    return BadInputError(f"{path} is damaged: delete {path.parent} to ask the teacher again")
