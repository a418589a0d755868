"""Plots as inline SVG that takes its colours and its font from the page, so that one drawing suits both themes.

Every plot is drawn twice, for a page and for a phone; the style sheet shows one of them. Lengths are pixels at the
width that the drawing is made for.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup

INK, MUTED, LINE, ACCENT, PAPER = (f"var(--{name})" for name in ("ink", "muted", "line", "accent", "paper"))
WIDE, NARROW = 730.0, 350.0
LETTER = 12.5  # height of letters
BASELINE = 0.36 * LETTER  # from the middle of a line of text down to where its letters stand
_ADVANCE = (
    (re.compile(r"[ilIjt.,:;|'!() \u00a0-]"), 0.38),
    (re.compile(r"[mwMW%–—]"), 0.96),
    (re.compile(r"[A-Z]"), 0.7),
)
_PLAIN = 0.62  # of the height of letters: how far a usual one advances

Anchor = Literal["start", "middle", "end"]
Point = tuple[float, float]
Paint = Callable[["Drawing"], None]


@dataclass(frozen=True)
class Plot:
    """One drawing in two widths, what it shows in words, and what to take from it."""

    wide: Markup
    narrow: Markup
    takeaway: str


def plot(paint: Callable[["Drawing", bool], None], heights: Point, alternative: str, takeaway: str) -> Plot:
    """Draw with `paint(drawing, narrow)`; `heights` are those on a page and on a phone."""
    wide, narrow = (Drawing(width, height) for width, height in zip((WIDE, NARROW), heights, strict=True))
    paint(wide, False)
    paint(narrow, True)
    return Plot(wide.svg(alternative), narrow.svg(alternative), takeaway)


def width_of(text: str) -> float:
    """About how wide a line of text is; the page's font is not known, so it is told rather too wide."""
    return LETTER * sum(next((wide for letters, wide in _ADVANCE if letters.match(one)), _PLAIN) for one in text)


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on the way from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return where a value is."""
        low, high, at = (math.log(one) if self.log else one for one in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (at - low) / ((high - low) or 1.0)

    def ticks(self, most: int = 6, *, whole: bool = False) -> list[float]:
        """Return at most so many round values; `whole`: no fractions."""
        if self.log:
            return _thinned(_decades(self.low, self.high), most)
        least = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(least or 1.0))
        step = next(times * power for times in (1, 2, 5, 10) if times * power >= least * (1 - 1e-9))
        step = max(step, 1.0) if whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * number for number in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [value for power in powers for times in (1, 2, 5) if low <= (value := times * 10.0**power) <= high]


def _thinned(values: list[float], most: int) -> list[float]:
    return values[:: -(-len(values) // most)] if values else values


@dataclass
class Drawing:
    """What is drawn so far, from the top left."""

    width: float
    height: float
    _parts: list[Markup] = field(default_factory=list)
    _links: bool = False

    def line(self, *points: Point, colour: str = INK, width: float = 1.2, dash: str = "", opacity: float = 1.0) -> None:
        """A line through points."""
        places = " ".join(f"{_short(x)},{_short(y)}" for x, y in points)
        self._add(
            '<polyline points="{}" fill="none" stroke="{}" stroke-width="{}" stroke-linecap="round"{}{}/>', places,
            colour, _short(width), _given("stroke-dasharray", dash), _given("opacity", "" if opacity == 1 else opacity),
        )  # fmt: skip

    def bar(self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0) -> None:
        """A filled rectangle, of whatever two corners."""
        left, top = min(x, x + width), min(y, y + height)
        self._add(
            '<rect x="{}" y="{}" width="{}" height="{}" fill="{}"{}/>', _short(left), _short(top), _short(abs(width)),
            _short(abs(height)), colour, _given("opacity", "" if opacity == 1 else opacity),
        )  # fmt: skip

    def text(
        self, x: float, y: float, words: str, colour: str = INK, anchor: Anchor = "start", *, bold: bool = False
    ) -> None:
        """A line of text, whose middle is at `y`."""
        given = _given("text-anchor", "" if anchor == "start" else anchor) + _given("font-weight", 650 if bold else "")
        self._add('<text x="{}" y="{}" fill="{}"{}>{}</text>', _short(x), _short(y + BASELINE), colour, given, words)

    def marker(self, shape: str, x: float, y: float, size: float, fill: str = ACCENT, colour: str = ACCENT) -> None:
        """A marker of one of `SHAPES`, so many pixels from its middle to its edge."""
        places = [(x + size * across, y + size * down) for across, down in SHAPES[shape]]
        if not places:
            self._add(
                '<circle cx="{}" cy="{}" r="{}" fill="{}" stroke="{}" stroke-width="1.6"/>', _short(x), _short(y),
                _short(size), fill, colour,
            )  # fmt: skip
            return
        told = " ".join(f"{_short(across)},{_short(down)}" for across, down in places)
        self._add('<polygon points="{}" fill="{}" stroke="{}" stroke-width="1.6"/>', told, fill, colour)

    def link(self, name: str, title: str, paint: Paint) -> None:
        """What `paint` draws, leading to an id of the page; `title` is shown when one points at it."""
        inner = Drawing(self.width, self.height)
        paint(inner)
        self._links = True
        link = '<a href="#{}" aria-label="{}"><title>{}</title>{}</a>'
        self._add(link, name, title, title, Markup("").join(inner._parts))

    def svg(self, alternative: str) -> Markup:
        """The drawing, with what it shows in words."""
        head = Markup('<svg role="{}" viewBox="0 0 {} {}" font-size="{}" aria-label="{}">\n{}</svg>')
        role, parts = "group" if self._links else "img", Markup("\n").join(self._parts)
        return head.format(role, _short(self.width), _short(self.height), LETTER, alternative, parts)

    def _add(self, template: str, *values: object) -> None:
        self._parts.append(Markup(template).format(*values))


def _star(points: int, inner: float) -> tuple[Point, ...]:
    turns = [math.pi * number / points for number in range(2 * points)]
    return tuple(
        ((inner if number % 2 else 1.2) * math.sin(turn), -(inner if number % 2 else 1.2) * math.cos(turn))
        for number, turn in enumerate(turns)
    )


SHAPES: dict[str, tuple[Point, ...]] = {
    "circle": (),
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
    "up": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
    "down": ((0, 1.2), (1.1, -0.9), (-1.1, -0.9)),
    "star": _star(5, 0.5),
    "cross": _star(4, 0.45),
    "hexagon": _star(6, 1.05),
}


def upright(drawing: Drawing, axis: Axis, ticks: Sequence[float], top: float, bottom: float) -> None:
    """Upright lines of a grid, with their values below."""
    for value in ticks:
        drawing.line((axis(value), top), (axis(value), bottom), colour=LINE, width=0.8)
        drawing.text(axis(value), bottom + 14, f"{value:g}", MUTED, "middle")


def level(drawing: Drawing, axis: Axis, ticks: Sequence[float], left: float, right: float) -> None:
    """Level lines of a grid, with their values at the left."""
    for value in ticks:
        drawing.line((left, axis(value)), (right, axis(value)), colour=LINE, width=0.8)
        drawing.text(left - 7, axis(value), f"{value:g}", MUTED, "end")


Entry = tuple[str, Callable[[Drawing, float, float], None]]


def legend(drawing: Drawing, entries: Iterable[Entry], room: float | None = None) -> float:
    """Draw a legend at the top, in as many lines as it takes; return where it ends.

    An entry has its words and what draws its sign, 22 pixels wide from (x, y).
    """
    x, y, wide = 2.0, 10.0, room or drawing.width
    for words, sign in entries:
        takes = 22 + 8 + width_of(words) + 18
        if x > 2 and x + takes > wide:
            x, y = 2.0, y + 19
        sign(drawing, x, y)
        drawing.text(x + 28, y, words)
        x += takes
    return y + 12


def _short(value: float) -> str:
    """A length in tenths of a pixel: eyes see no more, and files are smaller."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def _given(name: str, value: object) -> Markup:
    return Markup(' {}="{}"').format(name, value) if value != "" else Markup("")
