"""Stages that remember: a stage runs again only when its inputs, or the files it left, have changed."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekd.crew import Crew
from edgekd.files import digest, sha256, write_json
from edgekd.progress import Reporter

# Raised whenever a stage's meaning changes, so that no run folder mixes two of them.
GENERATION = 1


class Stages:
    """The stages of one run folder; each leaves `stages/<name>.json` beside the files it made.

    Of several processes the main one works, remembers and decides; the others get its results.
    """

    def __init__(
        self,
        folder: Path,
        reporter: Reporter,
        log: list[dict[str, Any]] | None = None,
        prefix: str = "",
        crew: Crew | None = None,
    ) -> None:
        self.folder, self.reporter, self.crew = folder, reporter, crew or Crew()
        self.log = [] if log is None else log
        self._prefix = prefix

    def key(self, name: str, inputs: Mapping[str, Any]) -> str:
        """The name of a stage's result: the digest of all that it depends on."""
        return digest({"generation": GENERATION, "stage": name, "inputs": dict(inputs)})

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        work: Callable[[str], Any],
        outputs: tuple[str, ...] = (),
        *,
        together: bool = False,
    ) -> Any:
        """Return the JSON-able result of `work(key)`, or the remembered one.

        `outputs` are files or folders, relative to the run folder, that must be unchanged for a result to be reused.
        `together`: `work` takes all processes, as a training does.
        """
        key, record = self.key(name, inputs), self.folder / "stages" / f"{name}.json"
        remembered = self.crew.lead(lambda: self._recall(record, key))
        if remembered is not None:
            self._note(name, remembered["seconds"], cached=True)
            return remembered["result"]
        if self.crew.is_main:
            self.reporter.event("stage", name=name, key=key)
        started = time.monotonic()
        result = work(key) if together else self.crew.lead(lambda: work(key))
        seconds = round(time.monotonic() - started, 3)
        document = {"key": key, "seconds": seconds, "result": result}
        self.crew.lead(lambda: write_json(record, document | {"files": self._identify(outputs)}))
        self._note(name, seconds, cached=False)
        return result

    def _note(self, name: str, seconds: float, cached: bool) -> None:
        self.log.append({"name": f"{self._prefix}{name}", "seconds": seconds, "cached": cached})

    def _recall(self, record: Path, key: str) -> dict[str, Any] | None:
        try:
            remembered: dict[str, Any] = json.loads(record.read_text())
        except (FileNotFoundError, ValueError):
            return None
        if remembered.get("key") != key:
            return None
        unchanged = all(
            (self.folder / name).is_file() and sha256(self.folder / name) == known
            for name, known in remembered["files"].items()
        )
        return remembered if unchanged else None

    def _identify(self, outputs: tuple[str, ...]) -> dict[str, str]:
        paths = [path for name in outputs for path in _files(self.folder / name)]
        return {str(path.relative_to(self.folder)): sha256(path) for path in paths}


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
