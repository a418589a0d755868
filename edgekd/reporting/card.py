"""A model card: what a run's bundles are worth, as Markdown that model hubs read; each number can be derived again."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from edgekd.bundle import Manifest
from edgekd.reporting.markdown import markdown_table
from edgekd.reporting.run_record import Distillation, Network, RunRecord, Scores, TargetRecord, Variant
from edgekd.reporting.words import NONE, count, interval, listed, metric_name, milliseconds, percent, sentence, size
from edgekd.runtimes import find_needs
from edgekd.schema import Schema
from edgekd.screen import visible

CARD, FORMAT = "card.json", 1
UNTRAINED = "not derived by `edgekd replay .`, but by `edgekd replay . --recipe RECIPE`, which trains again"


class Card(Schema):
    """What a card says that no run knows; licences by their SPDX identifiers."""

    format: int = FORMAT
    license: str
    data_license: str
    base_model: str | None = None


def card_text(card: Card, run: RunRecord, bundles: Mapping[str, Manifest]) -> str:
    """The card of a run; `bundles` by folder name."""
    parts = (_front(card, run, bundles), _head(run), *_sections(card, run, bundles))
    return "\n\n".join(parts) + "\n"


def _front(card: Card, run: RunRecord, bundles: Mapping[str, Manifest]) -> str:
    """The metadata of a model hub; YAML takes JSON's strings."""
    backends = sorted({manifest.backend for manifest in bundles.values()})
    lines = [
        f"license: {json.dumps(card.license)}", "library_name: edgekd",
        f"tags: {json.dumps(['edge', 'quantized', 'knowledge-distillation', *backends])}",
        *([f"base_model: {json.dumps(card.base_model)}"] if card.base_model else []),
        f"metrics: {json.dumps([run.metric_name])}",
        f"model-index: {json.dumps(_index(run, bundles))}",
    ]  # fmt: skip
    return "\n".join(["---", *lines, "---"])


def _index(run: RunRecord, bundles: Mapping[str, Manifest]) -> list[dict[str, object]]:
    data = {"name": run.data.name if run.data else run.name, "type": run.data.name if run.data else run.name}
    metrics = [
        {"type": run.metric_name, "name": f"{run.metric_name} on {name}", "value": scores.mean}
        for name, target in executed(run)
        if (scores := scores_of(target.metric)) is not None
    ]
    tasks = {manifest.task.name for manifest in bundles.values() if manifest.task}
    return [
        {"name": run.name, "results": [{"task": {"type": task}, "dataset": data, "metrics": metrics}]}
        for task in sorted(tasks)
    ]


def _head(run: RunRecord) -> str:
    shipped = listed([name for name, _ in executed(run)])
    what = f"A small network, distilled, quantised and proven on {shipped}" if shipped else "A small network"
    return f"# {visible(run.title or run.name)}\n\n{what}. Made with [edgekd](https://pypi.org/project/edgekd)."


def _sections(card: Card, run: RunRecord, bundles: Mapping[str, Manifest]) -> Iterator[str]:
    yield _table("Targets", ("target", "variant", metric_name(run), "latency", "size"), _variants(run))
    yield _table("Teaching", ("network", metric_name(run), "seeds", "parameters"), _networks(run))
    if run.distillation:
        yield _distilled(run)
    yield f"These are {UNTRAINED}."
    yield "## Conditions\n\n" + "\n".join(f"- {line}" for line in _conditions(card, run))
    yield _table("Files", ("bundle", "file", "SHA-256"), _files(bundles))
    if settings := list(_app_settings(bundles)):
        yield "## In an app of your own\n\n" + "\n".join(settings)
    yield "## Check it\n\n```bash\npip install edgekd\nedgekd replay . --data test.npz\n```"


def executed(run: RunRecord) -> list[tuple[str, TargetRecord]]:
    """Targets whose numbers a device gave."""
    return [(name, target) for name, target in run.targets.items() if target.metric_source == "device"]


def scores_of(metric: Scores | float | None) -> Scores | None:
    """A metric over seeds; a plain number is one seed's."""
    return Scores(mean=metric, seeds=(metric,)) if isinstance(metric, float | int) else metric


def _variants(run: RunRecord) -> Iterator[Sequence[str]]:
    for name, target in executed(run):
        for label, variant in target.variants.items():
            if not variant.broken:
                yield name, label, _worth(run, scores_of(variant.metric)), _latency(variant), size(variant.bytes)


def _latency(variant: Variant) -> str:
    found = variant.latency_ms
    if found is None or not found.counts:
        return NONE
    told = f"{milliseconds(found.p50)} ({interval(found.low, found.high, found.replicates)})"
    return f"{told}, {', '.join(found.flags)}" if found.flags else told


def _networks(run: RunRecord) -> Iterator[Sequence[str]]:
    named: list[tuple[str, Network | None]] = [
        ("teacher", run.teacher),
        ("student, from labels alone", run.student_scratch),
        ("student, distilled", run.student),
    ]
    for name, network in named:
        if network is not None:
            seeds = str(max(len(network.metric.seeds), 1))
            yield name, _worth(run, network.metric), seeds, count(network.parameters)


def _distilled(run: RunRecord) -> str:
    found, scale = run.distillation or Distillation(), run.metric_scale
    tax = scale.difference(found.tax) if scale and found.tax is not None else NONE
    gap = found.gap_recovered
    told = f"Of the gap to the teacher, {percent(gap)} was recovered" if gap is not None else found.reason
    return " ".join(filter(None, (f"Distillation tax: {tax}.", f"{sentence(told)}." if told else "")))


def _conditions(card: Card, run: RunRecord) -> Iterator[str]:
    if data := run.data:
        yield f"data: {data.name}, {data.train} training, {data.val} validation and {data.test} test samples"
    yield f"licence of the data: {card.data_license}; of these files: {card.license}"
    yield f"machine: {run.machine.get('cpu')}, {run.machine.get('arch')}, {run.machine.get('cores')} cores"
    yield "versions: " + ", ".join(f"{name} {version}" for name, version in run.versions.items())
    yield f"seeds: {', '.join(map(str, run.seeds)) or '0'}; recipe {run.recipe_sha256}; commit {run.git_commit}"
    for name, target in run.targets.items():
        if target.metric_source != "device":
            yield f"{name}: not executed; its numbers are left out"


def _files(bundles: Mapping[str, Manifest]) -> Iterator[Sequence[str]]:
    for name, manifest in bundles.items():
        for file, identity in manifest.model_files.items():
            yield f"bundles/{name}", file, f"`{identity.sha256}`"


def _app_settings(bundles: Mapping[str, Manifest]) -> Iterator[str]:
    """What runtimes do only for our runner, each with the bundles that it is about."""
    about: dict[str, list[str]] = {}
    for name, manifest in bundles.items():
        if told := find_needs(manifest.backend).app_setting(manifest.precision, manifest.scheme):
            about.setdefault(told, []).append(f"`bundles/{name}`")
    return (f"- {listed(names)}: {told}" for told, names in about.items())


def _worth(run: RunRecord, scores: Scores | None) -> str:
    if scores is None or run.metric_scale is None:
        return NONE
    told = run.metric_scale.text(scores.mean)
    return told if scores.std is None else f"{told} ± {run.metric_scale.figures(scores.std)}"


def _table(title: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"## {title}\n\n{markdown_table(titles, rows)}"
