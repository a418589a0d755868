"""What the compiler of an NPU expects of a bundle that nothing here can time."""

from collections.abc import Sequence
from pathlib import Path

from edgekd.backends.placement import PLACEMENT, Placement
from edgekd.bundle import load_bundle, read_manifest
from edgekd.errors import BadInputError
from edgekd.reading import read_json


def estimate_of(model: Path, asked: Sequence[str] = ()) -> Placement | None:
    """The placement that a bundle holds; None for other bundles and for files.

    BadInputError where options are `asked` for that only what runs on a device could follow.
    """
    if not model.is_dir() or PLACEMENT not in read_manifest(model).files:
        return None
    load_bundle(model)
    if asked:
        raise BadInputError(f"{model}: its profile is its compiler's estimate: leave out {' and '.join(asked)}")
    return Placement.parse(read_json(model / PLACEMENT), str(model / PLACEMENT))
