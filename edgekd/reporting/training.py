"""Training curves, from the `history.json` that each stage leaves in the run folder."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgekd.errors import BadInputError
from edgekd.reading import read_json
from edgekd.reporting.svg import ACCENT, INK, MUTED, Plot, bare, plot
from edgekd.reporting.words import Run, listed, metric_name, scale_of, worth

History = list[dict[str, Any]]

_LABELS = {"teacher": "Teacher", "scratch": "Scratch student", "student": "Distilled student"}
_SPOKEN = {"teacher": "the teacher", "scratch": "the scratch student", "student": "the distilled student"}
_LINES = {"teacher": (INK, "-"), "scratch": (MUTED, "--"), "student": (ACCENT, "-")}
_FINE_TUNING = (":", "-.")


def histories(folder: Path) -> dict[str, History]:
    """Epoch records by stage, in the order of teaching; a file that is absent or unreadable is left out."""
    stages = [*_LABELS, *sorted(f"qat/{path.name}" for path in folder.glob("qat/*"))]
    found = {stage: _read(folder / stage / "history.json") for stage in stages}
    return {stage: history for stage, history in found.items() if history}


def curves(run: Run, folder: Path) -> Plot | None:
    """Validation metric and training loss by epoch."""
    stages = histories(folder)
    if not stages:
        return None
    metric = metric_name(run)
    ends = [f"{_label(stage)} {worth(run, history[-1].get('val'))}" for stage, history in stages.items()]
    return plot(
        "curves",
        lambda figure, narrow: _paint(figure, stages, run, narrow),
        (3.1, 5.2),
        f"Validation {metric} and training loss by epoch. At the end: {'; '.join(ends)}.",
        _takeaway(stages, run),
    )


def _read(path: Path) -> History:
    try:
        history = read_json(path)
    except BadInputError:
        return []
    return [row for row in history if isinstance(row, dict) and "epoch" in row] if isinstance(history, list) else []


def _label(stage: str) -> str:
    return _LABELS.get(stage, stage.removeprefix("qat/"))


def _takeaway(stages: dict[str, History], run: Run) -> str:
    ends = {stage: history[-1].get("val") for stage, history in stages.items() if stage in _SPOKEN}
    told = [f"{_SPOKEN[stage]} at {worth(run, value)}" for stage, value in ends.items() if value is not None]
    return f"Training ends with {listed(told)} on validation data." if told else "Loss by epoch."


def _paint(figure: Figure, stages: dict[str, History], run: Run, narrow: bool) -> None:
    value, loss = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
    scale = scale_of(run)
    value.set_title(f"validation {metric_name(run)}, {scale.unit}".rstrip(", "))
    loss.set_title("training loss")
    fine = iter(_FINE_TUNING * len(stages))
    for stage, history in stages.items():
        colour, style = _LINES.get(stage) or (ACCENT, next(fine))
        for axes, key, unit in ((value, "val", scale.factor), (loss, "loss", 1)):
            rows = [row for row in history if row.get(key) is not None]
            epochs, heights = [row["epoch"] for row in rows], [unit * row[key] for row in rows]
            axes.plot(
                epochs,
                heights,
                style,
                color=colour,
                label=_label(stage),
                marker="o" if len(rows) < 3 else "",
                markersize=4,
            )
    for axes in (value, loss):
        bare(axes, "y")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = value.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2 if narrow else 5, labelcolor=INK, borderpad=0)
