"""Several runs on one page: which way of teaching, which student, which target is worth what."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgekd.errors import BadInputError
from edgekd.files import write_bytes
from edgekd.reporting import RUN
from edgekd.reporting.html import template
from edgekd.reporting.latency import Point, drawn, points
from edgekd.reporting.run_record import Network, RunRecord, Variant, read_run
from edgekd.reporting.svg import ACCENT, INK, MUTED, PAPER, Axis, Drawing, Entry, Plot, legend, plot, upright, width_of
from edgekd.reporting.teaching import gap, taught_by
from edgekd.reporting.words import NONE, change, latency, listed, mean, metric_name, scale_of, spread, worth

ROW, BOTTOM = 34.0, 46.0  # pixels
PARTS = (("teacher", "teacher"), ("student_scratch", "scratch student"), ("student", "distilled student"))


class Compared(NamedTuple):
    """A run with the name that it has on the page."""

    name: str
    run: RunRecord


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write a page that compares finished runs, the best student first.

    Raises BadInputError for runs whose metrics are not one, or a folder without a finished run.
    """
    found = [Compared(name, read_run(folder / RUN)) for name, folder in _named(folders).items()]
    first = found[0]
    for one in found[1:]:
        if scale_of(one.run) != scale_of(first.run):
            metrics = f"{metric_name(first.run)} of {first.name}, {metric_name(one.run)} of {one.name}"
            raise BadInputError(f"they are not scored by one metric: {metrics}")
    write_bytes(out, comparison(found).encode())
    return out


def comparison(runs: Sequence[Compared]) -> str:
    """The page."""
    ranked = sorted(runs, key=_rank)
    shipped = [point for one in ranked for point in _shipped(one)]
    return template("runs.html.j2").render(
        title=f"{len(runs)} runs",
        headline=_headline(ranked),
        metric=metric_name(ranked[0].run),
        metrics=_metrics(ranked),
        trade_off=drawn(shipped) if shipped else None,
        rows=[_row(one) for one in ranked],
        targets=[row for one in ranked for row in _targets(one)],
    )


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders by their last names, or whole where two are alike."""
    short = [folder.resolve().name for folder in folders]
    names = [name if short.count(name) == 1 else str(folder) for name, folder in zip(short, folders, strict=True)]
    if len(set(names)) < len(names):
        raise BadInputError(f"a run is named twice: {', '.join(names)}")
    return dict(zip(names, folders, strict=True))


def _student(one: Compared) -> float | None:
    return one.run.student.metric.mean if one.run.student else None


def _rank(one: Compared) -> float:
    value = _student(one)
    return float("inf") if value is None else -scale_of(one.run).gain(value, 0.0)


def _headline(ranked: Sequence[Compared]) -> str:
    """Which is best; that is claimed only where it and the next are further apart than their deviations over seeds."""
    best, *rest = ranked
    told = f"{worth(best.run, _student(best))} {metric_name(best.run)}"
    known = [one for one in rest if _student(one) is not None]
    if not known:
        return f"{best.name} reaches {told}."
    near = [one for one in known if not _is_better(best, one)]
    if not near:
        return f"{best.name} teaches best: {told}."
    return f"{best.name} reaches {told}; {listed([one.name for one in near])} cannot be told from it."


def _is_better(one: Compared, other: Compared) -> bool:
    if one.run.student is None or other.run.student is None:
        return False
    mine, theirs = one.run.student.metric, other.run.student.metric
    own, its = spread(mine), spread(theirs)
    return own is not None and its is not None and scale_of(one.run).gain(mine.mean, theirs.mean) > own + its


def _row(one: Compared) -> dict[str, str]:
    run = one.run
    return {
        "name": one.name,
        "methods": taught_by(run),
        **{key: worth(run, network.metric.mean if network else None) for key, network in _networks(run).items()},
        "tax": change(run, run.distillation.tax if run.distillation else None),
        "gap": gap(run),
        "seeds": str(len(run.seeds) or 1),
    }


def _networks(run: RunRecord) -> dict[str, Network | None]:
    """By their keys in `PARTS`."""
    return {"teacher": run.teacher, "student_scratch": run.student_scratch, "student": run.student}


class _Shipped(NamedTuple):
    """What a run ships for a target."""

    run: str
    target: str
    status: str
    ships: str
    metric: str
    bytes: int | None
    p50: float | None


def _targets(one: Compared) -> Iterator[_Shipped]:
    for name, target in one.run.targets.items():
        variant = target.variants.get(target.best or "int8", Variant())
        time = latency(variant)
        told = worth(one.run, mean(variant.metric))
        yield _Shipped(
            one.name, name, target.status, target.best or NONE, told, variant.bytes, time.p50 if time else None
        )


def _shipped(one: Compared) -> Iterator[Point]:
    """What each of a run's targets ships."""
    for point in points(one.run):
        if one.run.targets[point.target].best == point.variant:
            yield point._replace(target=one.name, variant=f"{point.target} {point.variant}")


def _metrics(ranked: Sequence[Compared]) -> Plot:
    told = "; ".join(f"{one.name} {worth(one.run, _student(one))}" for one in ranked)
    high = 60 + ROW * len(ranked) + BOTTOM
    seeds = min(len(one.run.seeds) or 1 for one in ranked)
    doubt = "" if seeds > 1 else " One seed says little: --seeds 3."
    return plot(
        lambda drawing, narrow: _paint(drawing, ranked, narrow),
        (high, high + 20 * len(ranked)),
        f"Test {metric_name(ranked[0].run)} of teachers and students, with the deviation over seeds. {told}.",
        f"Bars are the standard deviation over seeds.{doubt}",
    )


_SIGNS = {
    "teacher": ("diamond", PAPER, INK),
    "student_scratch": ("circle", PAPER, MUTED),
    "student": ("circle", ACCENT, ACCENT),
}


def _paint(drawing: Drawing, ranked: Sequence[Compared], narrow: bool) -> None:
    """A row a run; on a phone its name is above it."""
    scale, found = scale_of(ranked[0].run), [_values(one) for one in ranked]
    top = legend(drawing, [_entry(key, words) for key, words in PARTS]) + 8
    left = 12.0 if narrow else max(width_of(one.name) for one in ranked) + 18
    axis = _axis([value for values in found for value in values.values()], left, drawing.width - 12)
    upright(drawing, axis, axis.ticks(4 if narrow else 8), top, drawing.height - BOTTOM)
    title = f"test {metric_name(ranked[0].run)}, {scale.unit}".rstrip(", ")
    drawing.text((left + drawing.width) / 2, drawing.height - 12, title, MUTED, "middle")
    row = ROW + (20 if narrow else 0)
    for place, (one, values) in enumerate(zip(ranked, found, strict=True)):
        y = top + row * (place + (0.7 if narrow else 0.5))
        if narrow:
            drawing.text(2, y - 19, one.name)
        else:
            drawing.text(left - 14, y, one.name, anchor="end")
        for key, value in values.items():
            _mark(drawing, axis, y, value, *_SIGNS[key])


def _axis(values: Sequence["_Value"], left: float, right: float) -> Axis:
    low, high = min(value.low for value in values), max(value.high for value in values)
    air = 0.06 * (high - low) or 1.0
    return Axis(low - air, high + air, left, right)


class _Value(NamedTuple):
    """A metric as it is drawn, with its deviation to either side."""

    low: float
    middle: float
    high: float


def _values(one: Compared) -> dict[str, _Value]:
    """By network."""
    found, factor = {}, scale_of(one.run).factor
    for key, network in _networks(one.run).items():
        if network is not None:
            value, error = network.metric.mean, spread(network.metric) or 0.0
            found[key] = _Value(factor * (value - error), factor * value, factor * (value + error))
    return found


def _mark(drawing: Drawing, axis: Axis, y: float, value: _Value, shape: str, fill: str, colour: str) -> None:
    if value.high > value.low:
        drawing.line((axis(value.low), y), (axis(value.high), y))
    drawing.marker(shape, axis(value.middle), y, 5, fill, colour)


def _entry(key: str, words: str) -> Entry:
    shape, fill, colour = _SIGNS[key]
    return words, lambda drawing, x, y: drawing.marker(shape, x + 11, y, 5, fill, colour)
