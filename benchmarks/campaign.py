"""Strikes at the file operations of a tiny run, one at a time: a kill, or a disk that is full from there on.

What must hold after each: the same command ends with the same weights, graphs, curves, metrics and rows, every later
stage is found as it was, and a full disk was one line of error. The same after a bit has flipped in any file (`flips`).
Writes `results/campaign.json` after every strike; interrupted, the same command goes on. Stages that are named, and
`flips`, are struck alone; the rows of others stay, each with the commit that it is of (machine and versions are the
newest's). `--every N` strikes at each N-th operation of a stage.
"""

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgekd.devices import open_device
from edgekd.files import write_json
from edgekd.measure.facts import machine_facts
from edgekd.pipeline.origin import origin, versions
from tests.strikes.client import MISSING, Campaign

RESULTS = Path(__file__).parent / "results" / "campaign.json"
WAYS, FLIPS = ("kill", "full"), "flips"


def known() -> dict[str, Any]:
    """What campaigns have found so far."""
    with closing(open_device("local:")) as host:
        machine = machine_facts(host).model_dump(mode="json")
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"stages": {}, FLIPS: {}}
    return found | {"versions": versions(), "machine": machine}


def resumed(row: dict[str, Any], every: int, **new: Any) -> dict[str, Any]:
    """A row of this commit to go on with, or a new one."""
    now = {"commit": origin().commit, "dirty": origin().dirty, "every": every}
    return row if all(row.get(name) == value for name, value in now.items()) else now | new


def strike_all(campaign: Campaign, stage: str, every: int, document: dict[str, Any]) -> None:
    """Strike at what is left of a stage."""
    operations = campaign.ask("points", stage=stage)
    points = operations[::every]
    found = resumed(document["stages"].get(stage, {}), every, operations=len(operations))
    document["stages"][stage] = found
    for how in WAYS:
        row = found.setdefault(how, {"struck": 0, "failures": {}})
        for number in points[row["struck"] :]:
            failure = campaign.ask("strike", stage=stage, number=number, how=how)
            row["struck"] += 1
            row["failures"] |= {str(number): failure} if failure else {}
            write_json(RESULTS, document)


def flip_all(campaign: Campaign, document: dict[str, Any]) -> None:
    """Turn a bit in one file after the other."""
    names = campaign.ask("names")
    row = document[FLIPS] = resumed(document[FLIPS], 1, files=len(names), flipped=0, failures={})
    for name in names[row["flipped"] :]:
        failure = campaign.ask("flip", names=[name])
        row["flipped"] += 1
        row["failures"] |= {name: failure} if failure else {}
        write_json(RESULTS, document)


def table(document: dict[str, Any]) -> Table:
    """A row per stage."""
    shown = Table("stage", "operations", "killed at", "full at", "failures")
    for stage, found in document["stages"].items():
        failures = sum(len(found[how]["failures"]) for how in WAYS)
        shown.add_row(stage, str(found["operations"]), *(str(found[how]["struck"]) for how in WAYS), str(failures))
    if flips := document[FLIPS]:
        shown.add_row("a bit in each file", str(flips["files"]), "", "", str(len(flips["failures"])))
    return shown


def main() -> int:
    """Strike and show; 1 if something was not as it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"stages, or {FLIPS}; all where none is named")
    parser.add_argument("--every", type=int, default=1, help="strike at each N-th operation")
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"), help="folder of the runs")
    arguments = parser.parse_args()
    if MISSING:
        sys.exit(MISSING)
    document = known()
    with Campaign(arguments.out) as campaign:
        every = [*campaign.ask("stages"), FLIPS]
        if unknown := set(arguments.sections) - set(every):
            parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(every)}")
        for section in arguments.sections or every:
            if section == FLIPS:
                flip_all(campaign, document)
            else:
                strike_all(campaign, section, arguments.every, document)
    Console().print(table(document))
    failed = [found[how]["failures"] for found in document["stages"].values() for how in WAYS]
    return int(any(failed) or bool(document[FLIPS].get("failures")))


if __name__ == "__main__":
    sys.exit(main())
