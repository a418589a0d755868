"""What `doctor` and `verify` found on a device, for the terminal; a command stays on one line, to be copied."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text

from edgekd.metrics import Scale
from edgekd.reporting.layout import Facts
from edgekd.reporting.tables import rows_table

Document = Mapping[str, Any]


def doctor_view(found: Document | Sequence[Document]) -> Group:
    """Components, how to get what is missing and, of a device, its state and how to prepare it."""
    if isinstance(found, Mapping):
        ready = "yes" if found["ready"] else "no"
        head = Facts([("device", found["device"]), ("CPU", found["cpu"]), ("ready", ready)])
        return Group(
            head, *_components(found["components"]),
            "", rows_table(found["state"]), *_commands("before measuring", found["prepare"]),
        )  # fmt: skip
    return Group(*_components(found))


def verify_view(found: Document | Sequence[Document]) -> Group:
    """Parity, kernels and, with data, the metric and its difference from the host's; rows of each output."""
    if isinstance(found, Mapping):
        return _verdict(found)
    return Group(*[part for verdict in found for part in ("", _verdict(verdict))][1:])


def _verdict(verdict: Document) -> Group:
    apart = (verdict.get("difference") or {}).get("outputs")
    return Group(
        Facts([*_told(verdict)]),
        *(("", rows_table([*verdict["golden"]])) if verdict.get("golden") else ()),
        *(("", Text("against the host's answers", "dim"), rows_table(apart)) if apart else ()),
    )


def metric(found: Document) -> Iterator[tuple[str, str]]:
    """A task's metric, beside the host's or the reference's where that is known, and why it is not the host's."""
    apart, scale = found.get("difference") or {}, Scale(**(found.get("metric") or {"name": "metric"}))
    if scale.name in found:
        difference = None if apart.get("points") is None else scale.difference(apart["points"] / scale.factor, 2)
        beside = "" if difference is None else f", {difference} from the {apart['against']}'s"
        yield scale.name, f"{scale.text(found[scale.name], 2)}{beside}".replace("\u00a0", " ")
    if apart.get("reason"):
        yield "not compared", apart["reason"]


def _told(verdict: Document) -> Iterator[tuple[str, str]]:
    yield "device", verdict["device"]
    if "error" in verdict:
        yield "error", verdict["error"]
        return
    yield "bundle", verdict["bundle"]
    if "executed" in verdict:
        yield "executed", verdict["executed"]
    told = f"not proven: {verdict['unproven']}" if verdict.get("unproven") else "does not hold"
    yield "golden parity", "holds" if verdict["ok"] else told
    if verdict["kernels"]["total"] is not None:
        yield "kernels in int8", f"{verdict['kernels']['int8']} of {verdict['kernels']['total']}"
    if "delegated" in verdict["kernels"]:
        yield "delegated", f"{verdict['kernels']['delegated']} nodes; {verdict['kernels']['fallback']} left to the CPU"
    if "samples" in verdict:
        yield "samples", f"{verdict['samples']:,}"
    yield from metric(verdict)
    if "warning" in verdict:
        yield "warning", verdict["warning"]


def _components(rows: Sequence[Document]) -> Iterator[Any]:
    yield ""
    yield rows_table([{key: row[key] for key in ("component", "for", "found")} for row in rows])
    gaps: dict[str, list[str]] = {}
    for row in rows:
        if row["get it"]:
            gaps.setdefault(row["get it"], []).append(row["component"])
    yield from _commands("to get what is missing", [f"{line}  # {', '.join(names)}" for line, names in gaps.items()])


def _commands(title: str, lines: Sequence[str]) -> Iterator[Any]:
    if lines:
        yield ""
        yield Text(title, "dim")
    yield from (Text(line, no_wrap=True, overflow="ignore") for line in lines)
