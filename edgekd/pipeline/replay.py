"""Each number of a card, derived again: from its files, its samples, and by running its bundles here."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np

from edgekd.bundle import Manifest, load_bundle
from edgekd.devices import Device, open_device
from edgekd.errors import BadInputError, EdgekdError
from edgekd.measure.facts import Machine, machine_facts
from edgekd.measure.results import Row, artifact, read_rows
from edgekd.measure.statistics import Latency, Percentiles, percentiles
from edgekd.metrics import Scale
from edgekd.pipeline.card import README, TEST, read_card, text_of
from edgekd.pipeline.deploy import bundle_name
from edgekd.pipeline.origin import versions
from edgekd.pipeline.summary import recipe_digest
from edgekd.pipeline.tax import LEAST_STANDARD_ERRORS
from edgekd.pipeline.timing import RESULTS
from edgekd.pipeline.verify import EvalSet, eval_set_for, verify_bundle
from edgekd.progress import SILENT, Reporter
from edgekd.recipe import Recipe
from edgekd.reporting.card import executed, scores_of
from edgekd.reporting.run_record import Distillation, Network, RunRecord, Scores, Variant
from edgekd.schema import Schema

DIGITS = 1e-9  # of a number, relative: what a sum in another order may change


class Claim(Schema):
    """A number of a card; `holds` is None where it could not be derived, `reason` says why, or what is wrong."""

    what: str
    said: str
    found: str | None = None
    holds: bool | None = None
    reason: str | None = None


def replay(
    folder: Path, data: Path | None = None, again: RunRecord | None = None, *, reporter: Reporter = SILENT
) -> list[Claim]:
    """Derive the numbers of a card: hashes, sizes, percentiles, parity; metrics by test `data`, training from `again`.

    That is the record of its recipe, run again. Without `data` the card's own are taken, if it has any.
    """
    card, run = read_card(folder)
    if again is not None and again.recipe_sha256 != run.recipe_sha256:
        raise BadInputError(
            f"the recipe is not the card's: its sha256 is {again.recipe_sha256}, not {run.recipe_sha256}"
        )
    loaded = dict(_loaded(folder, run))
    claims = [claim for claim in loaded.values() if isinstance(claim, Claim)]
    bundles = {name: found for name, found in loaded.items() if isinstance(found, Manifest)}
    if not claims:
        holds = text_of(folder, card, run, bundles)
        wrong = None if holds else "it does not say what run.json and the bundles say"
        claims.append(Claim(what=README, said="its tables", holds=holds, reason=wrong))
    claims += _summed(run)
    rows = read_rows(folder / RESULTS)
    data = data or (folder / TEST if (folder / TEST).is_file() else None)
    with closing(open_device("local:")) as here:
        sources = _Sources(folder, run, bundles, rows, data, here, _same_place(run, here), reporter)
        for name, target in executed(run):
            for label, variant in target.variants.items():
                if variant.broken is None:
                    claims += sources.claims(name, label, variant)
    return claims + list(_trained(run, again))


def require_recipe_of(folder: Path, recipe: Recipe) -> None:
    """Raise BadInputError where a card's run is not of this recipe."""
    wanted, found = read_card(folder)[1].recipe_sha256, recipe_digest(recipe)
    if found != wanted:
        raise BadInputError(f"recipe {recipe.name} is not the card's: its sha256 is {found}, not {wanted}")


def _loaded(folder: Path, run: RunRecord) -> Iterator[tuple[str, Manifest | Claim]]:
    for path in sorted((folder / "bundles").iterdir()):
        try:
            yield path.name, load_bundle(path)
        except BadInputError as error:
            said = "its files are those of its manifest"
            yield path.name, Claim(what=f"bundles/{path.name}", said=said, holds=False, reason=str(error))


class _Sources(NamedTuple):
    """What the numbers of a variant are derived from."""

    folder: Path
    run: RunRecord
    bundles: Mapping[str, Manifest]
    rows: list[Row]
    data: Path | None
    here: Device
    same_place: bool
    reporter: Reporter

    def claims(self, name: str, label: str, variant: Variant) -> Iterator[Claim]:
        bundle = bundle_name(name, label)
        what, manifest = f"{name} {label}", self.bundles.get(Path(bundle).name)
        if manifest is None:
            yield Claim(what=what, said="a bundle", holds=False, reason=f"{bundle} is not there, or damaged")
            return
        yield _equal(f"{what}: bytes", variant.bytes, manifest.model_bytes)
        if variant.latency_ms is not None:
            yield self._latency(f"{what}: latency", (name, label, artifact(manifest)), variant.latency_ms)
        yield self._parity(f"{what}: parity", self.folder / bundle)
        yield self._metric(what, self.folder / bundle, manifest, variant)

    def _latency(self, what: str, of: tuple[str, str, str], latency: Latency) -> Claim:
        said = Percentiles(*(getattr(latency, field) for field in Percentiles._fields))
        own = [row.samples for row in self.rows if (row.target, row.label, row.artifact) == of and row.samples]
        claim = Claim(what=what, said=_ms(said))
        if not own:
            return claim.model_copy(update={"holds": False, "reason": f"{RESULTS} has no samples of it"})
        found = percentiles(own[-1])
        known = {
            name: value for name, value in said._asdict().items() if value is not None
        }  # a coarse clock has no tail
        derived = [getattr(found, name) for name in known]
        holds = np.allclose(list(known.values()), derived, rtol=DIGITS, atol=0)
        return claim.model_copy(update={"found": _ms(found), "holds": holds})

    def _parity(self, what: str, path: Path) -> Claim:
        claim = Claim(what=what, said="golden outputs are met")
        try:
            found = verify_bundle(path)
        except EdgekdError as error:
            return claim.model_copy(update={"reason": f"it does not run here: {error}"})
        if found["unproven"]:
            return claim.model_copy(update={"reason": found["unproven"]})
        met = found["ok"]
        return claim.model_copy(update={"found": "met" if met else "not met", "holds": met})

    def _metric(self, what: str, path: Path, manifest: Manifest, variant: Variant) -> Claim:
        scale, scores = self.run.metric_scale, scores_of(variant.metric)
        if scale is None or scores is None:
            return Claim(what=f"{what}: metric", said="nothing", reason="the run has none")
        said = scores.seeds[0] if scores.seeds else scores.mean
        claim = Claim(what=f"{what}: {scale.name}", said=_figure(said))
        if self.data is None:
            return claim.model_copy(update={"reason": "there are no test data: --data test.npz"})
        try:
            found, error = _scored(eval_set_for(path, manifest, self.data, self.reporter), self.here)
        except EdgekdError as failure:
            return claim.model_copy(update={"reason": f"it cannot be scored here: {failure}"})
        near = 0.0 if self.same_place else LEAST_STANDARD_ERRORS * error
        wrong = None if near else "this machine and runtime gave that number, and must give it again"
        holds = abs(found - said) <= near + DIGITS
        return claim.model_copy(update={"found": _figure(found), "holds": holds, "reason": None if holds else wrong})


def _scored(eval_set: EvalSet, here: Device) -> tuple[float, float]:
    rows = eval_set.metric.rows(eval_set.outputs_on_device(here), eval_set.samples.labels)
    return eval_set.metric.score(rows), eval_set.metric.standard_error(rows)


def _same_place(run: RunRecord, here: Device) -> bool:
    """Whether arithmetic is that of the run: its processor, and the versions of all packages."""
    return Machine.parse(run.machine, "machine").identity == machine_facts(here).identity and versions() == run.versions


def _equal(what: str, said: float | None, found: float) -> Claim:
    holds = said is not None and abs(said - found) <= DIGITS * abs(found)
    return Claim(what=what, said=_figure(said), found=_figure(found), holds=holds)


def _figure(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.6g}"


def _ms(found: Percentiles) -> str:
    interval = f"{found.low:.4g} to {found.high:.4g}" if found.replicates > 1 else "one run"
    return f"{found.p50:.4g} ms ({interval}), n {found.n}"


def _summed(run: RunRecord) -> Iterator[Claim]:
    """Means, deviations, tax and gap, from the seeds."""
    for name, network in _networks(run).items():
        if network.metric.seeds:
            yield from _over(f"{name}: {run.metric_name}", network.metric)
    told, scale = run.distillation or Distillation(), run.metric_scale
    if scale is None or run.teacher is None or run.student is None:
        return
    tax = scale.gain(run.teacher.metric.mean, run.student.metric.mean)
    yield _near("distillation tax", told.tax, tax)
    if told.gap_recovered is not None and run.student_scratch is not None:
        yield _near("gap recovered", told.gap_recovered, _gap(scale, run))


def _gap(scale: Scale, run: RunRecord) -> float:
    teacher, scratch, student = (
        network.metric.mean if network else 0.0 for network in (run.teacher, run.student_scratch, run.student)
    )
    return scale.gain(student, scratch) / (scale.gain(teacher, scratch) or 1.0)


def _over(what: str, scores: Scores) -> Iterator[Claim]:
    yield _near(f"{what}, mean", scores.mean, mean(scores.seeds))
    if len(scores.seeds) > 1:
        yield _near(f"{what}, deviation", scores.std, stdev(scores.seeds))


def _near(what: str, said: float | None, found: float) -> Claim:
    """Equal but for roundings: a difference of two fractions has an absolute error."""
    holds = said is not None and abs(said - found) <= DIGITS
    return Claim(what=what, said=_figure(said), found=_figure(found), holds=holds)


def _trained(run: RunRecord, again: RunRecord | None) -> Iterator[Claim]:
    """Teacher and students, beside those that were trained again."""
    then, now = _networks(run), _networks(again) if again else {}
    for name, network in then.items():
        claim = Claim(what=f"{name}, trained", said=_figure(network.metric.mean))
        if name not in now:
            yield claim.model_copy(update={"reason": "training is not repeated: --recipe RECIPE"})
        else:
            yield _near(claim.what, network.metric.mean, now[name].metric.mean)


def _networks(run: RunRecord) -> dict[str, Network]:
    found = {"teacher": run.teacher, "scratch": run.student_scratch, "student": run.student}
    return {name: network for name, network in found.items() if network is not None}
