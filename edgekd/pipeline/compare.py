"""What `compare` and `gate` hold against each other: kept results, and models that are measured for it."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekd.bundle import load_bundle
from edgekd.errors import BadInputError, DeviceError
from edgekd.measure.comparison import FAILURES, Change, compare_files, compare_rows
from edgekd.measure.model_file import Shapes, model_suffixes
from edgekd.measure.results import Key, Row, iterate_rows, read_rows
from edgekd.measure.statistics import MOST_REPLICATES, more_replicates
from edgekd.next_step import again
from edgekd.pipeline.against import verify_against
from edgekd.pipeline.bench import bench_bundles
from edgekd.pipeline.fleet import Member
from edgekd.progress import SILENT, Reporter
from edgekd.reading import require_file


@dataclass(frozen=True)
class Asked:
    """What decides: the smallest slowdown (a fraction) and loss of metric (of a fraction itself, else that share)."""

    threshold: float = 0.05
    metric_drop: float = 0.01


@dataclass(frozen=True)
class Trial:
    """How models are measured for a comparison; arguments as in `bench_bundles`."""

    device: Member = field(default_factory=lambda: Member(uri="local:"))
    data: Path | None = None
    metric: str | None = None
    inputs: Path | None = None
    shapes: Shapes = field(default_factory=dict)
    threads: int | None = None
    replicates: int = 5
    seconds: float = 1.0


def compare(
    before: Path, after: Path, asked: Asked, trial: Trial | None = None, reporter: Reporter = SILENT,
    words: Sequence[str] = (),
) -> tuple[list[Change], bool]:  # fmt: skip
    """Two result files row by row, or two bundles or model files measured in turns; and whether one is a regression.

    `words` are the command that asked: the next one is made of them. Raises BadInputError for a result file beside a
    model, and as `compare_files` and `bench_bundles` do.
    """
    models = [_is_model(path) for path in (before, after)]
    if all(models):
        rows, regressed = _compare_models(before, after, asked, trial or Trial(), reporter)
        command = words or ("compare", str(before), str(after))
        return _advised(rows, lambda _, more: again(command, [("--replicates", str(more))])), regressed
    if any(models):
        kept, model = (after, before) if models[0] else (before, after)
        _require_results(kept)
        step = ["gate", str(kept), str(model)] if model.is_dir() else ["bench", str(model), "--out", "NEW.jsonl"]
        raise BadInputError(f"{model} is a model, {kept} holds results", hint=shlex.join(["edgekd", *step]))
    if trial is not None and trial != Trial():
        raise BadInputError("results are compared as they are: how to measure is for bundles and model files")
    rows, regressed = compare_files(before, after, asked.threshold, asked.metric_drop, reporter.warn)
    return _advised(rows, partial(_measure_again, files=(before, after))), regressed


def gate(
    base: Path, bundles: Sequence[Path], asked: Asked, trial: Trial, out: Path | None = None,
    reporter: Reporter = SILENT,
) -> tuple[list[Change], bool]:  # fmt: skip
    """Measure bundles as the rows of `base` were measured, and compare; `out` keeps the new rows.

    Batch, threads, cores, scenario and replicates are the baseline's. Raises BadInputError for a bundle of which it
    holds no row, and for two of which it would be the same, DeviceError where the device is lost.
    """
    jobs = _jobs(base, bundles)
    with _kept(out) as rows:
        for (key, replicates), paths in jobs.items():
            _measured(
                bench_bundles(
                    paths, [trial.device], batch=key.batch, threads=key.threads, scenario=key.scenario,
                    affinity=",".join(map(str, key.affinity)) if key.affinity else None, replicates=replicates,
                    seconds=trial.seconds, data=trial.data, metric=trial.metric, out=rows, reporter=reporter,
                )
            )  # fmt: skip
        found, regressed = compare_files(base, rows, asked.threshold, asked.metric_drop, reporter.warn)
    return _advised(found, partial(_measure_again, files=(base,), device=trial.device.uri)), regressed


def _advised(rows: list[Change], advise: Callable[[Change, int], str]) -> list[Change]:
    """Rows with what to type where more replicates may make clear what is not."""
    return [
        row.model_copy(update={"next": advise(row, more)})
        if row.verdict == "unclear" and row.replicates and (more := more_replicates(min(row.replicates)))
        else row
        for row in rows
    ]


def _measure_again(row: Change, more: int, files: Sequence[Path], device: str = "local:") -> str:
    """Return what measures a row again for those of two files, or for a baseline, that hold fewer replicates of it.

    It takes the place of the row that is there: what that says of a metric has to be said anew.
    """
    how = ["--batch", str(row.batch), "--threads", str(row.threads)]
    how += [] if row.scenario == "single-stream" else ["--scenario", row.scenario]
    how += ["--affinity", ",".join(map(str, row.affinity))] if row.affinity else []
    how += [] if row.before_metric is None and row.after_metric is None else ["--data", "DATA"]
    how += [] if device == "local:" else ["--device", device]
    sides = zip(("OLD_BUNDLE", "NEW_BUNDLE"), row.replicates or (), files, strict=False)
    return " && ".join(
        shlex.join(["edgekd", "bench", bundle, *how, "--replicates", str(more), "--out", str(out)])
        for bundle, taken, out in sides
        if taken < more
    )


def _is_model(path: Path) -> bool:
    return path.is_dir() or path.suffix in model_suffixes()


def _require_results(path: Path) -> None:
    """Raise BadInputError for what is no model and holds no results either."""
    require_file(path)
    try:
        first = next(iterate_rows(path), None)
    except BadInputError as error:
        kinds = ", ".join(sorted(model_suffixes()))
        raise BadInputError(
            f"{path}: neither a bundle, nor a model file ({kinds}), nor results of `bench --out`"
        ) from error
    if first is None:
        raise BadInputError(f"{path}: no rows")


def _compare_models(
    before: Path, after: Path, asked: Asked, trial: Trial, reporter: Reporter
) -> tuple[list[Change], bool]:
    apart = _apart(before, after, trial)  # two networks are refused before they are timed
    with TemporaryDirectory() as folder:
        kept = Path(folder) / "rows.jsonl"
        _measured(
            bench_bundles(
                [before, after], [trial.device], threads=trial.threads, replicates=trial.replicates,
                seconds=trial.seconds, data=trial.data, metric=trial.metric, inputs=trial.inputs, shapes=trial.shapes,
                out=kept, reporter=reporter,
            )
        )  # fmt: skip
        rows = read_rows(kept)
    if len(rows) < len((before, after)):
        raise BadInputError("what only stands in for its device is not timed: compare files that run here")
    old, new = rows
    change = compare_rows(old, new, asked.threshold, asked.metric_drop)
    return [change.model_copy(update={"outputs_db": apart})], change.verdict in FAILURES


def _apart(before: Path, after: Path, trial: Trial) -> float | None:
    """Signal to noise of the output that differs most; None where all are equal."""
    (found,) = verify_against(after, before, [trial.device], shapes=trial.shapes, inputs=trial.inputs)
    return min((row.sqnr_db for row in found.outputs if row.sqnr_db is not None), default=None)


def _jobs(base: Path, bundles: Sequence[Path]) -> dict[tuple[Key, int], list[Path]]:
    """Which bundles are measured together, under whose conditions."""
    latest: dict[Key, Row] = {row.key: row for row in iterate_rows(base)}
    jobs: dict[tuple[Key, int], list[Path]] = {}
    named: dict[tuple[str, str], Path] = {}
    for path in bundles:
        manifest = load_bundle(path)
        other = named.setdefault((manifest.target, manifest.precision), path)
        if other is not path:
            both = f"{other} and {path} are both {manifest.target} {manifest.precision}"
            raise BadInputError(f"{both}, of which a baseline has one row: give each a baseline of its own")
        own = [row for row in latest.values() if (row.target, row.label) == (manifest.target, manifest.precision)]
        if not own:
            raise BadInputError(
                f"{base} holds no row of {manifest.target} {manifest.precision}",
                hint=shlex.join(["edgekd", "bench", str(path), "--out", str(base)]),
            )
        for row in own:
            replicates = min(row.latency.replicates, MOST_REPLICATES) if row.latency else Trial.replicates
            conditions = row.key._replace(target="", label="")
            jobs.setdefault((conditions, replicates), []).append(path)
    return jobs


@contextmanager
def _kept(out: Path | None) -> Iterator[Path]:
    """A file for new rows alone: a later gate must not take an earlier one's for its own."""
    if out is not None:
        if out.exists():
            raise BadInputError(f"{out} exists: name a new file, or delete it")
        yield out
        return
    with TemporaryDirectory() as folder:
        yield Path(folder) / "rows.jsonl"


def _measured(rows: Sequence[dict[str, object]]) -> None:
    for row in rows:
        if "error" in row:
            raise DeviceError(str(row["error"]))
