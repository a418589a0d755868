"""Files written whole or not at all, and the hashes that name their content."""

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekd.errors import DamagedError, DiskFullError
from edgekd.reading import read_json

SEAL = "sha256"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling that replaces `path` when the block succeeds and vanishes when it fails.

    What has replaced it survives a power cut. Raises DiskFullError.
    """
    with needs_room(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less the umask
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextmanager
def needs_room(path: Path) -> Iterator[None]:
    """Raise DiskFullError, naming `path`, where the block finds no room on its disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(f"{path}: {in_words(error)}") from error


def in_words(error: OSError) -> str:
    """What the system says of a file, or what to do where its disk is full."""
    if error.errno in _FULL:
        return "the disk is full: make room, and the same command continues"
    return error.strerror or str(error)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, document: Any) -> None:
    """Write `document` as indented JSON, atomically; NaN and infinity are refused (ValueError)."""
    write_bytes(path, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())


def write_sealed(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON object together with its own digest, atomically."""
    write_json(path, {**document, SEAL: digest(dict(document))})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return what `write_sealed` wrote, None without a file; raise DamagedError where a bit of it is another."""
    if not path.exists():
        return None
    try:
        document: dict[str, Any] = read_json(path)
        seal = document.pop(SEAL)
        intact = seal == digest(document)
    except Exception as error:  # whatever a damaged file leads to
        raise DamagedError(path) from error
    if not intact:
        raise DamagedError(path)
    return document


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(document: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-able document, independent of key order."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, allow_nan=False).encode()).hexdigest()
