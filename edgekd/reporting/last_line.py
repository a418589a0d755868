"""The last line of a command's output: what was found, and what to type next.

How numbers are told takes numpy, which a command's help does without.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd.reporting.run_record import RunRecord

Document = Mapping[str, Any]
NAMED = 3  # rows of one verdict


def of_run(run: "RunRecord", page: Path) -> str:
    """Return how many targets ended how, and where the report is."""
    from edgekd.reporting.words import state

    states = Counter({"ok": "proven"}.get(told, told) for told in map(state, run.targets.values()))
    targets = ", ".join(f"{count} {told}" for told, count in states.items()) or "no targets"
    return f"{targets}; report: {page}"


def of_dry_run(found: Document) -> str:
    """Return how much is wrong, or what a run would take."""
    from edgekd.reporting.words import between

    if found["faults"]:
        return f"{_plural(len(found['faults']), 'fault')} in {found['recipe']}"
    taken = f"about {between(**found['seconds'])}" if found["seconds"] is not None else "ready"
    return f"no faults; {taken}: edgekd run {quote(found['recipe'])}".replace("\u00a0", " ")


def of_export(reports: Document | Sequence[Document]) -> str:
    """Return what was written and whether it was proven."""
    if isinstance(reports, Mapping):
        return _exported(reports)
    proven = [report for report in reports if report["status"] in {"ok", "fallback"}]
    return "; ".join([f"{len(proven)} of {len(reports)} proven on this machine", *_next(proven)])


def _next(proven: Sequence[Document]) -> list[str]:
    """The command that measures the first bundle, beside the second where there are two."""
    bundles = [quote(str(report["bundle"])) for report in proven]
    return ["next: edgekd bench " + " --against ".join(bundles[:2])] if bundles else []


def _exported(report: Document) -> str:
    told = {"ok": "proven on this machine", "fallback": "proven, but not in int8"}.get(report["status"])
    if told is None:  # what to type next depends on why: the error says so
        return f"not proven: {report['bundle']}"
    return f"{told}: {report['bundle']}; next: edgekd bench {quote(str(report['bundle']))}"


def of_bench(rows: Sequence[Document]) -> str:
    """Return the fastest of what was measured, whether that is sure, and what failed."""
    from edgekd.measure.statistics import Median, perhaps_fastest
    from edgekd.reporting.words import milliseconds

    timed, lost = [row for row in rows if row.get("p50") is not None], [row for row in rows if "error" in row]
    told = [f"{len(rows) - len(lost)} measured"] if len(rows) > 1 or not timed else []
    if timed:
        best, *rivals = perhaps_fastest(timed, lambda row: Median.of(row).shared(row["batch"]))
        rank = f"{'perhaps fastest' if rivals else 'fastest'}: " if len(timed) > 1 else ""
        place = f" on {best['device']}" if best.get("device") else ""
        work = f" for {best['batch']} samples" if len({row["batch"] for row in timed}) > 1 else ""
        told.append(f"{rank}{best['bundle']}{place}, median {milliseconds(best['p50'])}{work}")
    return "; ".join([*told, *([f"{len(lost)} failed"] if lost else [])]).replace("\u00a0", " ")


def of_verify(found: Document | Sequence[Document]) -> str:
    """Return on how many devices the golden outputs hold."""
    verdicts = [found] if isinstance(found, Mapping) else found
    held = sum(bool(verdict["ok"]) for verdict in verdicts)
    return f"golden outputs hold on {held} of {len(verdicts)} devices" if len(verdicts) > 1 else _one(verdicts[0])


def of_web(rows: Sequence[Document]) -> str:
    """Return how much is there, and what to type next."""
    size = sum(row["bytes"] for row in rows) / 1e6
    return f"{size:.0f} MB for browsers; next: edgekd verify BUNDLE --device web:"


def of_profile(found: Document | Sequence[Document]) -> str:
    """Return the layer that takes longest, of the first device."""
    first = found if isinstance(found, Mapping) else found[0]
    top = max(first["layers"], key=lambda layer: float(layer["us"]))
    return f"{len(first['layers'])} layers; {top['layer'] or 'the runtime itself'} takes {100 * top['share']:.0f} %"


def of_estimate(found: Document) -> str:
    """Return how much of a model its compiler gave to the NPU."""
    ops = found["ops"]
    taken = sum(op["unit"] == "NPU" for op in ops)
    return f"{taken} of {len(ops)} operators on {found['accelerator']}; {found['source']}, nothing was measured"


def of_against(found: Document | Sequence[Document]) -> str:
    """Return on how many devices a model's outputs are near the reference's."""
    verdicts = [found] if isinstance(found, Mapping) else found
    near, least = sum(bool(verdict["ok"]) for verdict in verdicts), verdicts[0]["least_db"]
    where = f" on {near} of {len(verdicts)} devices" if len(verdicts) > 1 else ""
    told = "near" if near else "far from"
    return f"outputs are {told} the reference{where}: {least:g} dB of signal to noise were asked for"


def _one(verdict: Document) -> str:
    if verdict["ok"]:
        return f"golden outputs hold; next: edgekd bench {quote(verdict['bundle'])}"
    return "not proven" if verdict.get("unproven") else "golden outputs do not hold"


def of_compare(rows: Sequence[Document]) -> str:
    """Return how many rows got which verdict, which are unclear, and what to type to make the first of them clear."""
    verdicts = Counter(row["verdict"] for row in rows)
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items() if verdict != "unclear")
    unclear = [row for row in rows if row["verdict"] == "unclear"]
    names = [f"{row['target']} {row['label']}" for row in unclear[:NAMED]]
    more = [f"{len(unclear) - NAMED} more"] if len(unclear) > NAMED else []
    doubt = f"{len(unclear)} unclear ({', '.join([*names, *more])})" if unclear else ""
    steps = [f"next: {row['next']}" for row in unclear if row.get("next")]
    return "; ".join([f"{_plural(len(rows), 'row')}: " + ", ".join(filter(None, (told, doubt))), *steps[:1]])


def of_replay(claims: Sequence[Document]) -> str:
    """Return how many numbers hold."""
    wrong, unknown = (sum(claim["holds"] is state for claim in claims) for state in (False, None))
    told = [f"{wrong} wrong" if wrong else "", f"{unknown} not derived" if unknown else ""]
    return ", ".join([f"{len(claims) - wrong - unknown} of {len(claims)} hold", *filter(None, told)])


def of_doctor(found: Document | Sequence[Document]) -> str:
    """Return what is missing, or that a device is ready."""
    if isinstance(found, Mapping):
        return f"{found['device']} is {'ready' if found['ready'] else 'not ready'}"
    missing = sum(row["found"] == "missing" for row in found)
    return f"{missing} of {len(found)} missing; each has its command above" if missing else "nothing is missing"


def of_devices(rows: Sequence[Document]) -> str:
    """Return how many there are and how to examine one."""
    return f"{_plural(len(rows), 'device')}; examine one: edgekd doctor --device {quote(rows[-1]['device'])}"


def of_targets(rows: Sequence[Document]) -> str:
    """Return how many there are and how to read about one."""
    return f"{len(rows)} targets; all about one: edgekd targets {rows[0]['target']}"


def of_methods(rows: Sequence[Document]) -> str:
    """Return how many there are and how a recipe names one."""
    return f'{len(rows)} methods; in a recipe: [[distillation]] and, below it, method = "{rows[0]["method"]}"'


def of_tasks(rows: Sequence[Document]) -> str:
    """Return how many there are and how a recipe names one."""
    return f'{len(rows)} tasks; in a recipe: [task] and, below it, name = "{rows[-2]["task"]}"'


def of_recipes(rows: Sequence[Document]) -> str:
    """Return how many there are and how to run one."""
    return f"{len(rows)} recipes; what one would do: edgekd run {rows[0]['recipe']} --dry-run"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
