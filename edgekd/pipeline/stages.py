"""Stages that remember: one runs again only when what decides its result, or a file that it left, has changed."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from edgekd.errors import BadInputError, DamagedError
from edgekd.files import read_sealed, sha256, write_sealed
from edgekd.pipeline.documents import StageEntry
from edgekd.pipeline.origin import library_versions, origin
from edgekd.pipeline.record import Basis, Record, changes
from edgekd.pipeline.sources import data_files, reach
from edgekd.plugins import nearest
from edgekd.process_group import ProcessGroup
from edgekd.progress import Reporter

RECORDS = "stages"
Log = list[StageEntry]


def require_remembered(folder: Path, reuse: Collection[str], fresh: bool = False) -> None:
    """Raise BadInputError where a stage that is to be reused has left no result, or would be deleted first."""
    if reuse and fresh:
        raise BadInputError("--fresh deletes what --reuse keeps: give one of them")
    known = [path.stem for path in (folder / RECORDS).glob("[!.]*.json")]
    for name in sorted(set(reuse) - set(known)):
        raise BadInputError(f"--reuse {name}: {folder} holds no result of such a stage{nearest(name, known)}")


class Stages:
    """The stages of one run folder; each leaves `stages/<name>.json` beside the files it made.

    The results of those in `reuse` are taken as they are, whatever has changed. Of several processes the main one
    works, remembers and decides; the others get its results.
    """

    def __init__(
        self,
        folder: Path,
        reporter: Reporter,
        log: Log | None = None,
        prefix: str = "",
        group: ProcessGroup | None = None,
        reuse: Iterable[str] = (),
    ) -> None:
        self.folder, self.reporter, self.group = folder, reporter, group or ProcessGroup()
        self.log: Log = [] if log is None else log
        self.reuse = frozenset(reuse)
        self._prefix = prefix

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        work: Callable[[str], Any],
        outputs: tuple[str, ...] = (),
        *,
        code: Iterable[str],
        data: Iterable[Path] = (),
        together: bool = False,
    ) -> Any:
        """Return the JSON-able result of `work(key)`, or the remembered one.

        `outputs` are files or folders, relative to the run folder, that must be unchanged for a result to be reused.
        `code` are the modules that compute it, `data` folders whose files go into it. `together`: `work` takes all
        processes, as a training does.
        """
        basis = _basis(inputs, code, data)
        key = basis.key(name)
        remembered = self.group.run_on_main(lambda: self._recall(name, basis))
        if remembered is not None:
            self._note(name, remembered, "cached" if remembered.key == key else "reused")
            return remembered.result
        if self.group.is_main:
            self.reporter.event("stage", name=name, key=key)
        started = time.monotonic()
        result = work(key) if together else self.group.run_on_main(lambda: work(key))
        seconds = round(time.monotonic() - started, 3)
        self._note(name, self.group.run_on_main(lambda: self._remember(name, basis, result, seconds, outputs)), "fresh")
        return result

    def _remember(self, name: str, basis: Basis, result: Any, seconds: float, outputs: tuple[str, ...]) -> Record:
        paths = [path for output in outputs for path in _files(self.folder / output)]
        files = {str(path.relative_to(self.folder)): sha256(path) for path in paths}
        record = Record(basis=basis, key=basis.key(name), origin=origin(), seconds=seconds, result=result, files=files)
        write_sealed(self._path(name), record.model_dump(mode="json"))
        return record

    def _recall(self, name: str, basis: Basis) -> Record | None:
        """The remembered result, if it can be used; if there is one that cannot, say why."""
        asked = name in self.reuse
        try:
            document = read_sealed(self._path(name))
            if document is None:
                return None
            remembered = Record.parse(document, str(self._path(name)))
            if remembered.key != basis.key(name) and not asked:
                self._say_again(name, changes(remembered, basis))
                return None
            self._check_files(remembered)
        except BadInputError as error:  # damaged, or of an older edgekd
            if asked:
                raise BadInputError(f"--reuse {name}: {error}") from error
            self._say_again(name, str(error))
            return None
        return remembered

    def _check_files(self, record: Record) -> None:
        for name, known in record.files.items():
            path = self.folder / name
            if not path.is_file() or sha256(path) != known:
                raise DamagedError(path)

    def _path(self, name: str) -> Path:
        return self.folder / RECORDS / f"{name}.json"

    def _say_again(self, name: str, why: str) -> None:
        self.reporter.say(f"{self._prefix}{name}: {why}; it runs again")

    def _note(self, name: str, record: Record, state: str) -> None:
        made = record.origin
        self.log.append(
            {
                "name": f"{self._prefix}{name}", "seconds": record.seconds, "state": state,
                "commit": made.commit, "dirty": made.dirty, "versions": record.basis.versions,
            }
        )  # fmt: skip


def _basis(inputs: Mapping[str, Any], code: Iterable[str], data: Iterable[Path]) -> Basis:
    sources = reach(code)
    digests = sources.digests | {name: known for folder in data for name, known in data_files(folder).items()}
    return Basis(inputs=dict(inputs), sources=digests, versions=library_versions(sources.libraries))


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
