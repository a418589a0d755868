"""Size against latency, one point per executed variant."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from edgekd.reporting.labels import Label, place
from edgekd.reporting.svg import ACCENT, INK, MUTED, PAPER, Plot, plot
from edgekd.reporting.verdict import DELIVERED
from edgekd.reporting.words import Run, latency, milliseconds, size, three_digits

_SHAPES = "osD^vPX*"


@dataclass(frozen=True)
class Point:
    """One measured variant; milliseconds, with the interval over replicate medians."""

    target: str
    variant: str
    bytes: float
    p50: float
    low: float
    high: float


def points(run: Run) -> list[Point]:
    """Every proven variant that was timed: a broken one does not run what was taught."""
    found = []
    passed = {name: entry for name, entry in (run.get("targets") or {}).items() if entry.get("status") in DELIVERED}
    for target, entry in passed.items():
        for variant, row in (entry.get("variants") or {}).items():
            time, weight = latency(row), row.get("bytes")
            if time.get("p50") and weight and not row.get("broken"):
                low, high = time.get("low"), time.get("high")
                p50 = float(time["p50"])
                found.append(Point(target, variant, float(weight), p50, float(low or p50), float(high or p50)))
    return found


def trade_off(run: Run) -> Plot | None:
    """Latency with its interval across, size upwards; int8 is filled."""
    measured = points(run)
    if not measured:
        return None
    words = "; ".join(f"{p.target} {p.variant}: {milliseconds(p.p50)}, {size(p.bytes)}" for p in measured)
    extra = 0.22 * len({p.target for p in measured})
    return plot(
        "trade-off",
        lambda figure, narrow: paint(figure, measured, narrow),
        (3.3, 3.0 + extra),
        f"Model size against median latency with its interval. {words}.",
        _takeaway(measured),
    )


def _takeaway(measured: list[Point]) -> str:
    best = min(measured, key=lambda p: p.p50)
    interval = f"{three_digits(best.low)}–{milliseconds(best.high)}"
    return f"Fastest is {best.variant} on {best.target}: {milliseconds(best.p50)} ({interval}) in {size(best.bytes)}."


def paint(figure: Figure, measured: list[Point], narrow: bool) -> None:
    """Draw the points; a legend names targets and int8, a label any other variant but float."""
    axes = figure.subplots()
    targets = list(dict.fromkeys(p.target for p in measured))
    for index, target in enumerate(targets):
        _paint_target(axes, [p for p in measured if p.target == target], _SHAPES[index % len(_SHAPES)])
    axes.grid(True)
    axes.tick_params(which="both", length=0, pad=6)
    axes.set_xlabel("median latency, ms")
    axes.set_ylabel("model, kB")
    _scale(axes, "x", [v for p in measured for v in (p.low, p.high)])
    _scale(axes, "y", [p.bytes / 1000 for p in measured])
    columns = 1 if narrow else min(len(targets) + 1, 5)
    axes.plot([], [], "o", color=INK, markerfacecolor=PAPER, label="hollow: not int8")
    figure.legend(loc="outside upper left", ncols=columns, labelcolor=INK, handletextpad=0.3, borderpad=0)
    place(figure, axes, [label for p in measured for label in _labels(p)], MUTED)


def _labels(p: Point) -> tuple[Label, ...]:
    """The variant's name at its point; the ends of the interval are to stay free, too."""
    name = "" if p.variant in ("int8", "float") else p.variant
    return tuple(Label(at, p.bytes / 1000, text) for at, text in ((p.p50, name), (p.low, ""), (p.high, "")))


def _paint_target(axes: Axes, variants: list[Point], shape: str) -> None:
    axes.plot([p.p50 for p in variants], [p.bytes / 1000 for p in variants], color=MUTED, linewidth=0.8, zorder=1)
    axes.plot([], [], shape, color=ACCENT, label=variants[0].target)
    for p in variants:
        fill = ACCENT if p.variant.startswith("int8") else PAPER
        axes.plot([p.low, p.high], [p.bytes / 1000] * 2, "|-", color=INK, linewidth=1.2, markersize=6, zorder=4)
        axes.plot(p.p50, p.bytes / 1000, shape, markersize=8, color=ACCENT, markerfacecolor=fill, zorder=3)


def _scale(axes: Axes, which: str, values: list[float]) -> None:
    """From zero, or logarithmic where the values span more than a factor of eight."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    setter = axes.set_xlim if which == "x" else axes.set_ylim
    if max(values) <= 8 * min(values):
        setter(0, 1.15 * max(values))
        return
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    setter(min(values) / 1.6, 1.6 * max(values))
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
