"""The report: one HTML file that needs nothing else, not even a script."""

from functools import cache, partial
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from edgekd.errors import BadInputError
from edgekd.files import write_bytes
from edgekd.reading import reading
from edgekd.reporting import (
    REPORT,
    RUN,
    accuracy,
    latency,
    layers,
    parity,
    pictures,
    tables,
    teaching,
    training,
    verdict,
    words,
)
from edgekd.reporting.run_record import read_run
from edgekd.reporting.svg import Plot
from edgekd.reporting.words import Run
from edgekd.screen import visible_document

_WORDS = ("count", "milliseconds", "number", "percent", "seconds", "sentence", "size")


def write_report(folder: Path) -> Path:
    """Write `report.html` for the run in a folder; BadInputError when it holds no finished one."""
    if not (folder / RUN).exists():
        raise BadInputError(f"{folder}: no {RUN}: not a finished run", hint="edgekd run RECIPE")
    with reading(folder / RUN, "the record of a finished run"):
        page = render(read_run(folder / RUN).document(), folder).encode()
    write_bytes(folder / REPORT, page)
    return folder / REPORT


def render(run: Run, folder: Path) -> str:
    """The report of a `run.json` as HTML; training curves are read from the stages in `folder`.

    Sections without data are left out. All text is escaped: names come from recipes and devices.
    """
    run = visible_document(run)
    title = str(run.get("title") or run.get("name") or folder.name or "run")
    targets = [list(rows) for _, rows in groupby(tables.target_rows(run), key=lambda row: row["target"])]
    return template("report.html.j2").render(
        title=title,
        metric=words.metric_name(run),
        headline=verdict.headline(run, title),
        summary=verdict.summary(run),
        tiles=verdict.tiles(run),
        promises=verdict.promises(run),
        plots=_plots(run, folder),
        seeds=run.get("seeds") or [],
        facts=teaching.facts(run),
        stages=run.get("stages") or [],
        learned=(learned := teaching.models(run)),
        others=[scale for scale in words.other_scales(run) if any(row[scale.name] is not None for row in learned)],
        worth=partial(words.worth, run),
        deviation=partial(teaching.deviation, scale=words.scale_of(run)),
        targets=targets,
        layers=layers.rows(run),
        idle=[rows[0] for rows in targets if rows[0]["status"] not in verdict.EXECUTED],
        parity=parity.rows(run),
        pictures=pictures.rows(run, folder),
        provenance=_provenance(run),
        longest=max([stage.get("seconds") or 0 for stage in run.get("stages") or ()], default=0),
    )


def _plots(run: Run, folder: Path) -> dict[str, Plot | None]:
    return {
        "waterfall": accuracy.waterfall(run),
        "trade_off": latency.trade_off(run),
        "curves": training.curves(run, folder),
        "parity": parity.histogram(run),
    }


def _provenance(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    origin = {
        "recipe": run.get("recipe_sha256"),
        "commit": run.get("git_commit"),
        "seeds": words.listed([str(seed) for seed in run.get("seeds") or ()]),
    }
    groups = {"Machine": run.get("machine"), "Versions": run.get("versions"), "Origin": origin}
    found = [(name, _facts(facts)) for name, facts in groups.items()]
    return [(name, facts) for name, facts in found if facts]


def _facts(facts: Any) -> list[tuple[str, str]]:
    if not isinstance(facts, dict):
        return []
    return [
        (str(key).replace("_", " "), _fact(value)) for key, value in facts.items() if value not in (None, "", [], {})
    ]


def _fact(value: Any) -> str:
    """A value in words; of reasons only what they are for."""
    return ", ".join(map(str, value)).replace("_", " ") if isinstance(value, list | tuple | dict) else str(value)


@cache
def template(name: str) -> Template:
    """A page of this folder; it knows how numbers are written."""
    package = files("edgekd.reporting")
    environment = Environment(
        loader=FunctionLoader(lambda wanted: package.joinpath(wanted).read_text(encoding="utf-8")),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {name: getattr(words, name) for name in _WORDS}
    environment.filters |= {name: getattr(tables, name) for name in ("interval", "kernels", "pays")}
    environment.filters["anchor_of"] = latency.anchor_of
    environment.globals |= {"spoken_metric": words.spoken_metric, "other_metric": teaching.other_metric}
    environment.globals["style"] = Markup(package.joinpath("report.css").read_text(encoding="utf-8"))
    return environment.get_template(name)
