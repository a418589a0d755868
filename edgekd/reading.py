"""Foreign files, each behind one boundary: whatever fails while one is read is bad input, said in one line."""

import errno
import json
import re
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from edgekd.errors import BadInputError, EdgekdError

DOCUMENT = 64 * 2**20  # bytes of a JSON document: a manifest, a record, a training's history
SETTINGS = 2**20  # bytes of a TOML file, which people write
MARKUP, DEEPEST = 2**24, 100  # bytes of an XML file, and elements one within the other
LINE = 64 * 2**20  # bytes of one line of JSON lines
GROWTH, SMALL = 100, 2**30  # how often its own size a packed file may unpack to, or how many bytes
DOTS = 200  # in one key of a TOML file
LONGEST = 500  # characters of a reason
_BETWEEN_KEYS = re.compile(r"[\n=,\[\]{}#]")


@contextmanager
def reading(path: Path | str, kind: str, advice: str = "") -> Iterator[None]:
    """Turn whatever fails in the block into one line of BadInputError that begins with the path.

    A parser's own error reads `PATH: not KIND: why; ADVICE`. Errors of edgekd pass, a BadInputError with the path.
    """
    try:
        yield
    except EdgekdError as error:
        if isinstance(error, BadInputError):
            error.locate(path)
        raise
    except FileNotFoundError as error:
        raise _located(f"{path}: no such file") from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # as Rust's parsers fail
            raise
        if isinstance(error, OSError) and error.errno in _PLACE:
            raise _located(f"{path}: {error.strerror}") from error
        raise _located(f"{path}: not {kind}: {reason(error)}{advice and f'; {advice}'}") from error


def _located(message: str) -> BadInputError:
    error = BadInputError(message)
    error.located = True
    return error


_PLACE = {errno.EACCES, errno.EPERM, errno.EIO, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR}


def reason(error: BaseException) -> str:
    """Why a parser failed: the first line that it says, or what its kind of error means."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= LONGEST else f"{lines[0][:LONGEST]}…"


def require_file(path: Path, limit: int | None = None) -> Path:
    """The path of a regular file of at most `limit` bytes; raise BadInputError for a folder, a pipe, a device."""
    with reading(path, "a path"):
        found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise BadInputError(f"{path}: a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise BadInputError(f"{path}: not a regular file")
    if limit is not None and found.st_size > limit:
        raise BadInputError(f"{path}: {found.st_size:,} bytes, where at most {limit:,} make sense")
    return path


def unpacked_limit(path: Path) -> int:
    """How many bytes a packed file may hold."""
    return max(SMALL, GROWTH * path.stat().st_size)


def read_json(path: Path, limit: int = DOCUMENT) -> Any:
    """Decode a JSON file of at most `limit` bytes; raise BadInputError otherwise."""
    with reading(path, "valid JSON"):
        return json.loads(require_file(path, limit).read_text(encoding="utf-8"))


def read_toml(path: Path) -> dict[str, Any]:
    """Decode a TOML file of at most `SETTINGS` bytes; raise BadInputError otherwise."""
    with reading(path, "valid TOML"):
        text = require_file(path, SETTINGS).read_text(encoding="utf-8")
        if any(part.count(".") > DOTS for part in _BETWEEN_KEYS.split(text)):  # tomllib takes their square of memory
            raise RecursionError
        return tomllib.loads(text)


def read_xml(path: Path) -> Element:
    """Decode an XML file of at most `MARKUP` bytes; raise BadInputError otherwise, and where it declares a type.

    Without a document type there are no entities: nothing expands, and nothing else is read.
    """
    builder, parser = _ShallowTree(), expat.ParserCreate()
    with reading(path, "valid XML"):
        parser.StartDoctypeDeclHandler = _no_entities
        parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
        parser.CharacterDataHandler = builder.data
        parser.Parse(require_file(path, MARKUP).read_bytes(), True)
        return builder.close()


class _ShallowTree(TreeBuilder):
    """Elements that are not nested deeply: those would be freed one within the other."""

    depth = 0

    def start(self, tag: str, attributes: dict[str, str], /) -> Element:
        """Begin an element."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise RecursionError
        return super().start(tag, attributes)

    def end(self, tag: str, /) -> Element:
        """End an element."""
        self.depth -= 1
        return super().end(tag)


def _no_entities(*_: Any) -> None:
    raise ValueError("it declares a document type, with which entities come")


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not blank, cut at line feeds alone, with their numbers from 1."""
    with reading(path, "readable"), require_file(path).open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(LINE + 1), b""), 1):
            if len(line) > LINE:
                raise BadInputError(f"{path}:{number}: a line of more than {LINE:,} bytes")
            if line.strip():
                yield number, line
