"""The names in an ssh_config (5), read without asking ssh: `ssh -G` would run what a `Match exec` says."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from edgekd.errors import BadInputError
from edgekd.reading import SETTINGS, reading, require_file

KEYWORD = re.compile(r"\s*(?P<key>\w+)(\s*=\s*|\s+)(?P<value>.*)")
DEEPEST = 16  # includes within includes, as in OpenSSH


def host_aliases(config: Path) -> dict[str, Path]:
    """Names of `Host` lines without wildcards, in order, and the file that each is in; `Include` is followed."""
    found: dict[str, Path] = {}
    for alias, source in _aliases(config, DEEPEST):
        found.setdefault(alias, source)
    return found


def _aliases(config: Path, depth: int) -> Iterator[tuple[str, Path]]:
    for key, values in _lines(config):
        if key == "host":
            yield from ((value, config) for value in values if not set(value) & set("*?!"))
        elif key == "include" and depth:
            for path in (path for value in values for path in _included(value)):
                yield from _aliases(path, depth - 1)


def _lines(config: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        with reading(config, "readable"):
            text = require_file(config, SETTINGS).read_text(encoding="utf-8", errors="replace")
    except BadInputError:  # ssh, too, does without one that it cannot read
        return
    for line in map(KEYWORD.fullmatch, text.split("\n")):
        if line:
            try:
                yield line["key"].lower(), shlex.split(line["value"], comments=True)
            except ValueError:  # a quote that does not end: ssh will say so
                continue


def _included(pattern: str) -> list[Path]:
    """Files of an `Include`, which starts at ~/.ssh; none of one that ssh could not find files by either."""
    try:
        with reading(pattern, "a pattern of files"):
            whole = Path.home() / ".ssh" / Path(pattern).expanduser()
            root = Path(whole.anchor)
            return sorted(path for path in root.glob(str(whole.relative_to(root))) if path.is_file())
    except BadInputError:
        return []
