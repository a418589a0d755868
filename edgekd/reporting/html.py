"""The report: one HTML file that needs nothing else, not even a script."""

from collections.abc import Mapping
from functools import cache, partial
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup
from pydantic import JsonValue

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
from edgekd.reporting.run_record import RunRecord, read_run
from edgekd.reporting.sortable import SHOWN
from edgekd.reporting.svg import Plot
from edgekd.screen import visible

_WORDS = ("count", "interval", "milliseconds", "number", "percent", "seconds", "sentence", "size")


def write_report(folder: Path) -> Path:
    """Write `report.html` for the run in a folder; BadInputError when it holds no finished one."""
    if not (folder / RUN).exists():
        raise BadInputError(f"{folder}: no {RUN}: not a finished run", hint="edgekd run RECIPE")
    with reading(folder / RUN, "the record of a finished run"):
        page = render(read_run(folder / RUN), folder).encode()
    write_bytes(folder / REPORT, page)
    return folder / REPORT


def render(run: RunRecord, folder: Path) -> str:
    """The report of a `run.json` as HTML; training curves are read from the stages in `folder`.

    Sections without data are left out. All text is escaped: names come from recipes and devices.
    """
    title = run.title or run.name or visible(folder.name) or "run"
    targets = [list(rows) for _, rows in groupby(tables.target_rows(run), key=lambda row: row.target)]
    return template("report.html.j2").render(
        title=title,
        metric=words.metric_name(run),
        headline=verdict.headline(run, title),
        summary=verdict.summary(run),
        tiles=verdict.tiles(run),
        promises=verdict.promises(run),
        plots=_plots(run, folder),
        seeds=run.seeds,
        facts=teaching.facts(run),
        stages=run.stages,
        learned=(learned := teaching.models(run)),
        others=teaching.known_scales(run, learned),
        worth=partial(words.worth, run),
        deviation=partial(teaching.deviation, scale=words.scale_of(run)),
        targets=targets,
        layers=layers.table(run),
        profile=layers.profile_command(run),
        idle=[rows[0] for rows in targets if rows[0].status not in verdict.EXECUTED],
        parity=parity.rows(run),
        pictures=pictures.rows(run, folder),
        provenance=_provenance(run),
        longest=max([stage.seconds for stage in run.stages], default=0),
    )


def _plots(run: RunRecord, folder: Path) -> dict[str, Plot | None]:
    return {
        "waterfall": accuracy.waterfall(run),
        "trade_off": latency.trade_off(run),
        "curves": training.curves(run, folder),
        "parity": parity.histogram(run),
    }


def _provenance(run: RunRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    origin = {
        "recipe": run.recipe_sha256, "commit": run.git_commit,
        "seeds": words.listed([str(seed) for seed in run.seeds]),
    }  # fmt: skip
    groups: dict[str, Mapping[str, JsonValue]] = {"Machine": run.machine, "Versions": run.versions, "Origin": origin}
    found = [(name, _facts(facts)) for name, facts in groups.items()]
    return [(name, facts) for name, facts in found if facts]


def _facts(facts: Mapping[str, JsonValue]) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), _fact(value)) for key, value in facts.items() if value not in (None, "", [], {})]


def _fact(value: JsonValue) -> str:
    """A value in words; of reasons only what they are for."""
    return ", ".join(map(str, value)).replace("_", " ") if isinstance(value, list | dict) else str(value)


@cache
def template(name: str) -> Template:
    """A page of this folder; it knows how numbers are written."""
    package = files("edgekd.reporting")
    environment = Environment(
        loader=FunctionLoader(lambda wanted: package.joinpath(wanted).read_text(encoding="utf-8")),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {name: getattr(words, name) for name in _WORDS}
    environment.filters |= {name: getattr(tables, name) for name in ("kernels", "pays")}
    environment.filters["visible"] = visible
    environment.filters["anchor_of"] = latency.anchor_of
    environment.globals |= {"spoken_metric": words.spoken_metric, "other_metric": teaching.other_metric}
    environment.globals["shown_rows"] = SHOWN
    environment.globals["style"] = Markup(package.joinpath("report.css").read_text(encoding="utf-8"))
    return environment.get_template(name)
