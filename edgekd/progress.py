"""Progress bars for people and `events.jsonl` for machines, behind one small object."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgekd.files import needs_room
from edgekd.screen import Screen


class Tracker:
    """One running bar."""

    def __init__(self, bars: Progress | None, task: Any) -> None:
        self._bars, self._task = bars, task

    def advance(self, count: int = 1, note: str = "") -> None:
        """Move the bar by `count` and show `note` beside it."""
        if self._bars is not None:
            self._bars.update(self._task, advance=count, note=note)


class Reporter:
    """Where a run tells what it does: a console (stderr) and, if given, an events file.

    `tensorboard`: whether trainings draw their curves, each in its own folder.
    """

    def __init__(self, events: Path | None = None, quiet: bool = False, tensorboard: bool = False) -> None:
        self.tensorboard = tensorboard
        self._events, self._quiet = events, quiet
        self._console = Screen(stderr=True)

    @contextmanager
    def track(self, title: str, total: int, done: int = 0) -> Iterator[Tracker]:
        """Show a bar from `done` to `total` while the block runs."""
        if self._quiet or not self._console.file.isatty():
            self.say(title)
            yield Tracker(None, None)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            yield Tracker(bars, bars.add_task(title, total=total, completed=done, note=""))

    def say(self, message: str) -> None:
        """Print one line for the person watching."""
        if not self._quiet:
            self._console.print(message, markup=False, highlight=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Print one line that quiet does not swallow; of several processes the main one does."""
        if os.environ.get("RANK", "0") == "0":
            self._console.print(f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        self.event("warning", message=message)

    def event(self, kind: str, **fields: Any) -> None:
        """Append one record to `events.jsonl`."""
        if self._events is not None:
            record = json.dumps({"time": round(time.time(), 3), "event": kind, **fields})
            with needs_room(self._events):
                self._events.parent.mkdir(parents=True, exist_ok=True)
                with self._events.open("a") as stream:
                    stream.write(record + "\n")


SILENT = Reporter(quiet=True)
