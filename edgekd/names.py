"""Names that become paths: one check before a recipe, a target or a student names a folder or a file."""

import re
from typing import Annotated

from pydantic import AfterValidator

from edgekd.errors import BadInputError

LONGEST = 100  # characters; what a name is joined with needs room, too
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices, on Windows
_UNFIT = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')


def file_name(name: str) -> str:
    """Return a name that stays within the folder that it is written to; ValueError says what is wrong with it."""
    if not name.strip(" ."):
        raise ValueError(f"{name!r} names no file")
    if len(name) > LONGEST:
        raise ValueError(f"a name of {len(name)} characters, where a file's may have {LONGEST}")
    if found := _UNFIT.search(name):
        raise ValueError(f"{name!r} has {found[0]!r} in it, which a file's name cannot have")
    if name[0] in " -" or name[-1] in " ." or _RESERVED.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a file")
    return name


FileName = Annotated[str, AfterValidator(file_name)]


def require_file_name(name: str, what: str) -> str:
    """Return a name that can be a file's; raise BadInputError, saying of `what` it is."""
    try:
        return file_name(name)
    except ValueError as error:
        raise BadInputError(f"{what}: {error}") from error
