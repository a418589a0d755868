"""Strikes at the file operations of a tiny run, one at a time: a kill, or a disk that is full from there on.

What must hold after each: the same command ends with the same weights, graphs, curves, metrics and rows, every later
stage is found as it was, and a full disk was one line of error. The same after a bit has flipped in any file. Writes
`results/campaign.json` after every strike; interrupted, the same command goes on. `--every N` strikes at each N-th
operation of a stage.
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
WAYS = ("kill", "full")


def begun(every: int) -> dict[str, Any]:
    """What an interrupted campaign has found with this commit, or nothing yet."""
    with closing(open_device("local:")) as host:
        machine = machine_facts(host).model_dump(mode="json")
    new = {"commit": origin().commit, "dirty": origin().dirty, "every": every, "versions": versions()}
    try:
        known: dict[str, Any] = json.loads(RESULTS.read_text())
    except FileNotFoundError:
        known = {}
    same = all(known.get(name) == value for name, value in new.items())
    return known if same else {**new, "machine": machine, "stages": {}}


def strike_all(campaign: Campaign, stage: str, document: dict[str, Any]) -> None:
    """Strike at what is left of a stage."""
    operations = campaign.ask("points", stage=stage)
    points = operations[:: document["every"]]
    found = document["stages"].setdefault(stage, {"operations": len(operations)})
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
    row = document.setdefault("flips", {"files": len(names), "flipped": 0, "failures": {}})
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
    flips = document["flips"]
    shown.add_row("a bit in each file", str(flips["files"]), "", "", str(len(flips["failures"])))
    return shown


def main() -> int:
    """Strike and show; 1 if something was not as it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="strike at each N-th operation")
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"), help="folder of the runs")
    arguments = parser.parse_args()
    if MISSING:
        sys.exit(MISSING)
    document = begun(arguments.every)
    with Campaign(arguments.out) as campaign:
        for stage in campaign.ask("stages"):
            strike_all(campaign, stage, document)
        flip_all(campaign, document)
    Console().print(table(document))
    failed = [found[how]["failures"] for found in document["stages"].values() for how in WAYS]
    return int(any(failed) or bool(document["flips"]["failures"]))


if __name__ == "__main__":
    sys.exit(main())
