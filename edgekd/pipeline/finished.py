"""A finished run, remembered as a whole: the same command finds it again as it is, without torch."""

import hashlib
import sys
from functools import cache
from pathlib import Path

from edgekd.errors import BadInputError
from edgekd.files import read_sealed, sha256, write_sealed
from edgekd.package_data import EXPORT
from edgekd.pipeline.origin import versions
from edgekd.pipeline.plan import load_data
from edgekd.pipeline.record import Basis
from edgekd.plugins import plugin_folders
from edgekd.progress import Reporter
from edgekd.recipe import Recipe
from edgekd.reporting import REPORT, RUN
from edgekd.reporting.run_record import RunRecord, read_run
from edgekd.schema import Schema
from edgekd.target import Target

# All that a run writes; nothing else in its folder is ever touched.
FOLDERS = (
    "stages",
    "teacher",
    "teacher-[0-9]*",
    "generation-[0-9]*",
    "scratch",
    "student",
    "qat",
    "onnx",
    "bundles",
    "timings",
    "pictures",
    "seeds",
)
RESULTS, EVENTS, FINISHED = "results.jsonl", "events.jsonl", "finished.json"
FILES = (RUN, REPORT, RESULTS, EVENTS, FINISHED)
_PACKAGE = Path(__file__).parents[1]


class Finished(Schema):
    """What a run came from, the digest of its data, and the SHA-256 of every file that it left."""

    basis: Basis
    data: str
    files: dict[str, str]


def remember(recipe: Recipe, targets: list[Target], data: str, folder: Path) -> None:
    """Write down that all stages of a recipe are done; `data` is the digest of its data.

    A recipe that calls code of the user's own is not remembered: that may read what nobody sees.
    """
    if not recipe.code:
        finished = Finished(basis=_basis(recipe, targets), data=data, files=_files(folder))
        write_sealed(folder / FINISHED, finished.model_dump(mode="json"))


def recall(
    recipe: Recipe, targets: list[Target], folder: Path, reporter: Reporter, any_range: bool
) -> RunRecord | None:
    """Return the run's record, its stages cached; None if a file of it, or anything that went into it, has changed."""
    try:
        document = read_sealed(folder / FINISHED)
        known = Finished.parse(document, FINISHED) if document else None
        if known is None or known.basis != _basis(recipe, targets) or known.files != _files(folder):
            return None
    except BadInputError:  # damaged, of another edgekd, or a checkpoint is gone: each stage says so
        return None
    data = load_data(recipe, any_range, reporter)
    if known.data != data.digest():
        return None
    run = read_run(folder / RUN)
    return run.model_copy(
        update={"stages": tuple(stage.model_copy(update={"state": "cached"}) for stage in run.stages)}
    )


def own_folders(folder: Path) -> list[Path]:
    """The folders in a run's folder that are its own."""
    return [path for name in FOLDERS for path in folder.glob(name)]


def _files(folder: Path) -> dict[str, str]:
    paths = [path for own in own_folders(folder) for path in own.rglob("*")]
    paths += [folder / name for name in (RUN, REPORT, RESULTS)]
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(paths) if path.is_file()}


def _basis(recipe: Recipe, targets: list[Target]) -> Basis:
    """The recipe with the content of its checkpoints, all sources of edgekd, all that is installed."""
    paths = [*(model.checkpoint for model in recipe.teachers), recipe.control]
    checkpoints = {path: _content(Path(path)) for path in paths if path is not None}
    asked = {
        "recipe": recipe.model_dump(mode="json"),
        "targets": [target.model_dump(mode="json") for target in targets],
    }
    return Basis(
        inputs=asked | {"checkpoints": checkpoints},
        sources={str(folder.name): _digest(folder) for folder in (_PACKAGE, EXPORT, *plugin_folders())},
        versions=versions() | {"installed": _installed()},
    )


def _content(path: Path) -> str:
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    return sha256(path)


@cache
def _digest(folder: Path) -> str:
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            state.update(f"{path.relative_to(folder)} {sha256(path)}\n".encode())
    return state.hexdigest()


def _installed() -> str:
    """The digest of the names and versions of all installed distributions."""
    found = {path.name for entry in sys.path for path in Path(entry).glob("*.dist-info")}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
