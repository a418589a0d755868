"""Numbers as people read them. Metrics are fractions; sizes are bytes; latencies are milliseconds."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekd.measure.statistics import Latency
    from edgekd.metrics import Scale
    from edgekd.reporting.run_record import RunRecord, Scores, TargetRecord, Variant

_SPOKEN = {
    "spearman": "Spearman",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "miou": "mIoU",
    "macro_f1": "macro-F1",
    "mean_ap": "mean AP",
    "pck": "PCK",
    "oks": "OKS",
    "ap": "AP",
    "ap30": "AP30",
    "ap50": "AP50",
    "coco_ap": "COCO AP",
}

NONE = "–"
_SPACE = "\u00a0"  # a unit stays on its number's line


def metric_name(run: "RunRecord") -> str:
    """What was measured, as people call it."""
    return spoken_metric(run.metric_name or "metric")


def spoken_metric(name: str) -> str:
    """A metric as people call it."""
    return _SPOKEN.get(name, name.replace("_", " "))


def scale_of(run: "RunRecord") -> "Scale":
    """Unit and direction of the metric; of a run that does not say, a fraction of which more is better."""
    from edgekd.metrics import Scale  # numpy is heavy: `--help` does without

    return run.metric_scale or Scale(metric_name(run))


def worth(run: "RunRecord", value: float | None) -> str:
    """The metric with its unit: 0.913 → 91.3 %."""
    return NONE if value is None else scale_of(run).text(value)


def change(run: "RunRecord", difference: float | None) -> str:
    """A difference of the metric, with its sign: 0.004 → +0.4 points."""
    return NONE if difference is None else scale_of(run).difference(difference)


def cost(run: "RunRecord", loss: float | None) -> str:
    """What the metric is worse by: 0.019 → 1.9 points; negative when it is a gain."""
    return change(run, loss).removeprefix("+")


def state(target: "TargetRecord") -> str:
    """A target's status, as people say it: what no device was named for is not executed, the rest not proven."""
    if target.status not in ("unverified", "skipped"):
        return target.status
    return "not proven" if target.device else "not executed"


def mean(metric: "Scores | float | None") -> float | None:
    """The value of a metric over seeds, of a single one or of none."""
    return metric if metric is None or isinstance(metric, float) else metric.mean


def spread(metric: "Scores | float | None") -> float | None:
    """Standard deviation over seeds; None for a single seed."""
    return None if metric is None or isinstance(metric, float) or len(metric.seeds) < 2 else metric.std


def latency(variant: "Variant | None") -> "Latency | None":
    """What is known of a variant's latency; nothing where the device was emulated."""
    found = variant and variant.latency_ms
    return found if found and found.counts else None


def percent(fraction: float | None, digits: int = 1) -> str:
    """0.913 → 91.3 %; no minus before zero."""
    if fraction is None:
        return NONE
    text = f"{100 * fraction:.{digits}f}"
    return f"{text.lstrip('-') if float(text) == 0 else text}{_SPACE}%"


def sentence(text: str) -> str:
    """The same text with a capital first letter, but for a name that has its capitals elsewhere, such as mIoU."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, a real minus, and no minus before zero."""
    text = f"{abs(value):.{digits}f}"
    sign = "±" if float(text) == 0 else "−" if value < 0 else "+"
    return sign + text


def size(count: float | None) -> str:
    """98496 → 98.5 kB."""
    return _scaled(count, (("B", 1), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)))


def count(number: float | None) -> str:
    """78042 → 78.0 k."""
    return _scaled(number, (("", 1), ("k", 1e3), ("M", 1e6), ("G", 1e9)))


def milliseconds(value: float | None) -> str:
    """0.4231 → 0.423 ms."""
    return NONE if value is None else f"{three_digits(value)}{_SPACE}ms"


def interval(low: float | None, high: float | None, replicates: int | None) -> str:
    """0.311, 0.327 → 0.311–0.327 ms; one replicate has none."""
    if low is None or high is None:
        return NONE
    return "one run" if replicates == 1 else f"{three_digits(low)}–{milliseconds(high)}"


def seconds(value: float | None) -> str:
    """75.2 → 1 min 15 s."""
    if value is None:
        return NONE
    if value < 60:
        return f"{three_digits(value)}{_SPACE}s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}{_SPACE}min {rest}{_SPACE}s"


def between(low: float, high: float) -> str:
    """62.0, 190.0 → 1–3 min: as many digits as an estimate has."""
    unit, scale = next(
        (unit, scale) for unit, scale in (("h", 3600), ("min", 60), ("s", 1)) if high >= scale or scale == 1
    )
    least, most = (_two_digits(value / scale) for value in (low, high))
    return f"{least}–{most}{_SPACE}{unit}" if least != most else f"{most}{_SPACE}{unit}"


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")


def number(value: float | None) -> str:
    """A plain number, whole or with one decimal."""
    return NONE if value is None else f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def three_digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    digits = 2 - math.floor(math.log10(abs(value))) if abs(value) > 1e-6 else 3
    return f"{value:,.{max(digits, 0)}f}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _scaled(number: float | None, units: tuple[tuple[str, float], ...]) -> str:
    if number is None:
        return NONE
    unit, factor = next(((u, f) for u, f in reversed(units) if number >= f), units[0])
    text = f"{number:,.0f}" if factor == 1 else three_digits(number / factor)
    return f"{text}{_SPACE}{unit}".rstrip(_SPACE)
