"""A run of a tiny recipe, struck at its file operations: `python -m tests.strikes.campaign FOLDER`, with the library
of `operations.c` preloaded. Answers JSON lines on stdin with JSON lines on stdout; see `answer`.

Each stage is redone in a copy of a finished folder from which its own files were taken, so that a point costs the time
of one stage; that those after it stay cached says that it left the same bytes. Every run is a fork of this process.
What torch exports is kept for the next one, in a folder of its own: it takes most of the time and touches no file.
"""

import ctypes
import gc
import hashlib
import json
import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.files import sha256, write_bytes
from edgekd.measure.results import read_rows
from edgekd.pipeline.sources import reach
from tests.small_run import arrays

COUNT, KILL, FULL = 0, 1, 2
HOW = {"kill": KILL, "full": FULL}
REPORT = "report"  # what follows the last stage
FINAL = {"run.json", "report.html", "results.jsonl", "finished.json"}
FULL_DISK = 2
SAMPLES = {"train": 96, "val": 32, "test": 32}
BY_NAME = (
    "edgekd.students.resnet",
    "edgekd.distillation.kd",
    "edgekd.backends.onnxruntime.compile",
    "edgekd.devices.local",
)
RECIPE = """\
targets = ["x86-onnxruntime"]
data = {{ name = "npz", path = "{data}", augmentation = ["crop"], views = 1 }}
teacher = {{ model = "resnet", options = {{ width = 4 }}, training = {{ epochs = 2, batch = 48 }} }}
student = {{ model = "resnet", options = {{ width = 2 }}, training = {{ epochs = 2, batch = 48 }} }}
distillation = [{{ method = "kd" }}]
quantization = {{ epochs = 1, batch = 48, calibration = 32 }}
benchmark = {{ replicates = 1, seconds = 0.01, count = 2 }}
devices = {{ x86-onnxruntime = "local:" }}
"""


class Struck:
    """The finished run in `folder/whole`, and copies of it to strike at."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.whole, self.work = folder, folder / "whole", folder / "work"
        self.recipe, self.cpu_seconds = folder / "tiny.toml", 0.0
        self._points: dict[str, list[int]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        samples = {name: values[: SAMPLES[name[2:]]] for name, values in arrays().items()}
        np.savez(folder / "tiny.npz", **samples)  # type: ignore[arg-type]
        self.recipe.write_text(RECIPE.format(data=folder / "tiny.npz"))
        assert self.run(self.whole)[0] == 0, self.said()
        self.stages = [stage["name"] for stage in self.document(self.whole)["stages"]] + [REPORT]

    def operations(self, stage: str) -> list[str]:
        """What a stage does to files below the run folder, in order; of what others do, nothing but their numbers."""
        self._without(stage)
        log = self.folder / "log"
        status, _ = self.run(self.work, log, 0, COUNT)
        assert status == 0, self.said()
        return log.read_text().splitlines()

    def points(self, stage: str) -> list[int]:
        """The numbers of the operations that are a stage's own."""
        if stage not in self._points:
            self._points[stage] = self._own_points(stage)
        return self._points[stage]

    def _own_points(self, stage: str) -> list[int]:
        numbered = enumerate(self.operations(stage), 1)
        if stage == REPORT:
            return [number for number, _ in numbered]
        return [number for number, told in numbered if not _common(told)]

    def strike(self, stage: str, number: int, how: str) -> str | None:
        """Strike, run again, and say what is then not as it was in the whole run."""
        self._without(stage)
        status, words = self.run(self.work, self.folder / "log", number, HOW[how], drawn=stage == REPORT)
        if how == "kill" and status != -signal.SIGKILL:
            return f"not killed: {status}, {words}"
        if how == "full" and not (status == FULL_DISK and len(words) == 1 and "the disk is full" in words[0]):
            return f"a full disk ends with {status}, {words}"
        status, words = self.run(self.work)
        return f"does not resume: {status}, {words}" if status else next(self._differences(stage), None)

    def flip(self, names: list[str]) -> str | None:
        """Turn a bit in the middle of files of the finished run, run again, and say what is then not as it was."""
        self._copy()
        for path in (self.work / name for name in names):
            content = bytearray(path.read_bytes())
            if content:
                content[len(content) // 2] ^= 1
            path.write_bytes(content)
        status, words = self.run(self.work)
        if not status and (unread := [stage for name in names for stage in self._resuming(name) if self._differ(name)]):
            for stage in unread:
                self._record(stage).unlink(missing_ok=True)
            status, words = self.run(self.work)
        return f"ends with {status}, {words}" if status else next(self._differences(None), None)

    def _resuming(self, name: str) -> Iterator[str]:
        """The stage that a checkpoint is of: nobody reads it once the stage is done, a redone one begins there."""
        if Path(name).match("checkpoint.*.safetensors"):
            for record in (self.whole / "stages").glob("*.json"):
                if any(Path(made).parent == Path(name).parent for made in json.loads(record.read_text())["files"]):
                    yield record.stem

    def _record(self, stage: str) -> Path:
        return self.work / "stages" / f"{stage}.json"

    def run(
        self, folder: Path, log: Path | None = None, number: int = 0, how: int = COUNT, *, drawn: bool = False
    ) -> tuple[int, list[str]]:
        """`edgekd run` in a fork: how it ended, and what it said of errors."""
        child = os.fork()
        if not child:
            _become_a_run(self.recipe, folder, self.folder / "said", log, number, how, drawn)
        _, status, used = os.wait4(child, 0)
        self.cpu_seconds += used.ru_utime + used.ru_stime
        return os.waitstatus_to_exitcode(status), [line for line in self.said() if line.startswith(_TROUBLE)]

    def said(self) -> list[str]:
        """What the last run wrote to its streams."""
        return (self.folder / "said").read_text().splitlines()

    def names(self) -> list[str]:
        """The files of the finished run."""
        return sorted(self.files(self.whole))

    def document(self, folder: Path) -> dict[str, Any]:
        """The run.json of a folder."""
        found: dict[str, Any] = json.loads((folder / "run.json").read_text())
        return found

    def files(self, folder: Path) -> set[str]:
        """The files of a run folder."""
        return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

    def _copy(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.whole, self.work)

    def _without(self, stage: str) -> None:
        """A copy of the finished run in which a stage, and the report, are yet to be done."""
        self._copy()
        for name in FINAL:
            (self.work / name).unlink()
        if stage == REPORT:
            return
        record = self._record(stage)
        for name in json.loads(record.read_text())["files"]:
            path = self.work / name
            if path.parent.name == "onnx":
                path.unlink()
            else:
                shutil.rmtree(path.parent, ignore_errors=True)
        record.unlink()

    def _differences(self, stage: str | None) -> Iterator[str]:
        """What of the run in `work` is not what it is in the whole one; times are never the same."""
        ours, theirs = self.files(self.work), self.files(self.whole)
        yield from (f"{name} is only in one of them" for name in sorted(ours ^ theirs))
        yield from (f"{name} differs" for name in sorted(theirs) if _lasting(name) and self._differ(name))
        before, after = (_timeless(self.document(folder)) for folder in (self.whole, self.work))
        yield from (
            f"run.json: {key} differs" for key in before.keys() | after.keys() if before.get(key) != after.get(key)
        )
        if stage is not None:
            states = {entry["name"]: entry["state"] for entry in self.document(self.work)["stages"]}
            yield from (
                f"{name} was not the same" for name, state in states.items() if state != "cached" and name != stage
            )
        rows = [[row.key for row in read_rows(folder / "results.jsonl")] for folder in (self.whole, self.work)]
        # What a flipped bit has measured again are more rows; what was killed in the middle has left none.
        if rows[0] != rows[1] and (stage or set(rows[0]) != set(rows[1])):
            yield f"results.jsonl holds {rows[1]}"

    def _differ(self, name: str) -> bool:
        return sha256(self.whole / name) != sha256(self.work / name)


_TROUBLE = ("error:", "internal error:", "Traceback")


def _common(told: str) -> bool:
    name = told.partition(" ")[2]
    return name.startswith(".lock") or any(final in name for final in FINAL - {"results.jsonl"})


def _lasting(name: str) -> bool:
    """Whether a file has the same bytes whenever it is made: no times are in it."""
    return name.endswith((".safetensors", ".onnx", "history.json", ".npz", "run.py", "README.md"))


def _timeless(document: dict[str, Any]) -> dict[str, Any]:
    targets = {name: {**target, "telemetry": None} for name, target in document["targets"].items()}
    for target in targets.values():
        rows = target["variants"].items()
        target |= {"int8_pays": None, "advice": None, "best": None}
        target["variants"] = {label: {**row, "latency_ms": None} for label, row in rows}
    moment = {"machine", "stages", "targets"}
    return {key: value for key, value in document.items() if key not in moment} | {"targets": targets}


def _become_a_run(recipe: Path, folder: Path, said: Path, log: Path | None, number: int, how: int, drawn: bool) -> None:
    """End this process as `edgekd run` does; unless it is `drawn`, the report is an empty page."""
    streams = os.open(said, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(streams, 1)
    os.dup2(streams, 2)
    status: Any = 70
    try:
        from edgekd import cli
        from edgekd.pipeline import seeds

        if not drawn:  # half of a point's time
            seeds.write_report = lambda run: write_bytes(run / "report.html", b"")
        if log is not None:
            descriptor = os.open(log, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            ctypes.CDLL(None).strikes_arm(os.fsencode(folder), descriptor, number, how)
        cli.app(["run", str(recipe), "--out", str(folder)], prog_name="edgekd")
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def warm_up(kept: Path) -> None:
    """Import all that a run imports, and export once: the first time torch lists its operators; forks need not.

    `kept` is where forks leave what torch has exported.
    """
    import onnxruntime
    import onnxscript
    import torch._dynamo
    import torch.onnx

    import edgekd.backends.onnxruntime.compile
    import edgekd.pipeline.seeds as seeds
    import edgekd.reporting.tables  # noqa: F401
    from edgekd.pipeline import quantise

    placing = import_module("edgekd.quantization.qat.prepare")
    del onnxruntime, onnxscript
    quantise.export_float(torch.nn.Linear(2, 2).eval(), torch.zeros(2, 2))
    seeds.rehearse = lambda *_: None  # it touches no file
    reach(["edgekd.pipeline.quantise", "edgekd.pipeline.deploy", "edgekd.pipeline.timing", *BY_NAME])
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for module, name in ((quantise, "export_float"), (quantise, "export_qdq"), (placing, "tags_of")):
        setattr(module, name, partial(_exported, kept, getattr(module, name)))
    gc.collect()
    gc.freeze()  # a fork then copies what it changes, not what its collector looks at


def _exported(kept: Path, export: Callable[..., Any], network: Any, example: Any, *how: Any, **more: Any) -> Any:
    """What `export` makes of a network, or made of one with the same layers and weights in another fork."""
    digest = hashlib.sha256(f"{export.__name__} {network} {how} {more}".encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    place = kept / digest.hexdigest()
    if not place.exists():
        write_bytes(place, pickle.dumps(export(network, example, *how, **more)))
    return pickle.loads(place.read_bytes())


def answer(struck: Struck, question: dict[str, Any]) -> Any:
    """Answer `{"ask": what, …}`: an attribute, or what a method of that name returns for the rest."""
    asked = {name: value for name, value in question.items() if name != "ask"}
    answers = getattr(struck, question["ask"])
    return answers(**asked) if callable(answers) else answers


def main() -> None:
    """Answer one question a line."""
    folder = Path(sys.argv[1]).resolve()
    warm_up(folder / "exported")
    struck = Struck(folder)
    for line in sys.stdin:
        print(json.dumps(answer(struck, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
