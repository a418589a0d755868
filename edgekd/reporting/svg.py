"""Plots as inline SVG that takes its colours and its font from the page, so that one drawing suits both themes.

Every plot is drawn twice, for a page and for a phone; the style sheet shows one of them.
"""

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

INK, MUTED, LINE, ACCENT, PAPER = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05"
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", PAPER: "--paper"}
_WIDE, _NARROW = 7.6, 3.65  # inches; one is 1⅓ × 72 pixels on the page

_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Plot:
    """One drawing in two widths, what it shows in words, and what to take from it."""

    wide: Markup
    narrow: Markup
    takeaway: str


def plot(
    name: str, paint: Callable[[Figure, bool], None], heights: tuple[float, float], alternative: str, takeaway: str
) -> Plot:
    """Draw with `paint(figure, narrow)`; `heights` are inches on a page and on a phone, `name` makes ids unique."""
    wide = _svg(f"{name}-wide", lambda figure: paint(figure, False), (_WIDE, heights[0]), alternative)
    narrow = _svg(f"{name}-narrow", lambda figure: paint(figure, True), (_NARROW, heights[1]), alternative)
    return Plot(wide, narrow, takeaway)


def bare(axes: Axes, grid: str) -> None:
    """Leave only the grid lines of one axis."""
    axes.grid(axis=grid)  # type: ignore[arg-type]
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _svg(name: str, paint: Callable[[Figure], None], inches: tuple[float, float], alternative: str) -> Markup:
    with mpl.rc_context():
        mpl.rcdefaults()  # a user's matplotlibrc must not change the report
        mpl.rcParams.update(_STYLE | {"svg.hashsalt": name})
        figure = Figure(
            figsize=inches, layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.06, wspace=0.06, hspace=0.04)
        )
        paint(figure)
        stream = io.StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # letters are drawn with the page's fonts
            figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(
        r'id="((?:figure|axes|patch|line2d|text|legend|xtick|ytick|matplotlib\.axis|[A-Za-z]+Collection)_\d+)"',
        "",
        text,
    )
    return Markup(text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(alternative)}"', 1))
