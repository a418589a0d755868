"""Networks of strangers through every runtime here, beside ONNX Runtime's and NNCF's default quantisation.

The list is fixed (`networks.toml`). A cell is a network, a runtime and one of three draws of calibration samples; a
peer's cell has no runtime but its own. All are judged on the same other samples by the network's own task. Each cell is
written to `results/foreign.json` as soon as it is done; interrupted, the same command goes on.
"""

import argparse
import json
import sys
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.foreign.contenders import PEERS, RUNTIMES, ours, theirs
from benchmarks.foreign.networks import Network, networks
from benchmarks.foreign.tables import cells_table, verdicts
from edgekd.devices import open_device
from edgekd.files import write_json
from edgekd.measure.facts import machine_facts
from edgekd.pipeline.origin import origin, versions

RESULTS = Path(__file__).parents[1] / "results" / "foreign.json"
DRAWS = 3
STATES = ("int8", "mixed", "fallback", "unverified", "refused", "failed", "crashed")


class Bench:
    """The results so far."""

    def __init__(self, again: Collection[str]) -> None:
        self.again = again
        self.document: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        with closing(open_device("local:")) as device:
            self.document["machine"] = machine_facts(device).model_dump(mode="json")
        self.document["peers"] = {name: {"packages": peer.requirements} for name, peer in PEERS.items()}
        self.document["versions"] = versions()
        self.document.setdefault("networks", {})

    def run(self, network: Network, runtimes: list[str], draw: int) -> None:
        """Every missing cell of one network and draw."""
        about = network.model_dump(include={"kind", "package", "version", "file", "licence"})
        row = self.document["networks"].setdefault(network.name, {"ours": {}, "peers": {}})
        row |= about | {"comparator": network.comparator["way"]}
        for runtime in runtimes:
            self._cell(row["ours"].setdefault(runtime, {}), draw, network, runtime)
        for peer in PEERS:
            self._cell(row["peers"].setdefault(peer, {}), draw, network, peer)

    def _cell(self, cells: dict[str, Any], draw: int, network: Network, who: str) -> None:
        key = network.key()
        known = cells.get(str(draw), {})
        if known.get("key") == key and known["status"] not in self.again:
            return
        found = theirs(network, who, draw) if who in PEERS else ours(network, who, draw)
        cells[str(draw)] = found | {"key": key, "commit": origin().commit}
        self.document["verdicts"] = verdicts(self.document)
        write_json(RESULTS, self.document)
        shown = {name: value for name, value in found.items() if name not in {"notes", "left"}}
        Console(width=220).print(f"{network.name} {who} {draw}: {shown}")


def main() -> int:
    """Run what is missing, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(networks()), default=list(networks()), metavar="NETWORK")
    parser.add_argument("--runtimes", nargs="*", choices=RUNTIMES, default=list(RUNTIMES))
    parser.add_argument("--draws", nargs="+", type=int, default=list(range(DRAWS)))
    parser.add_argument("--again", nargs="+", choices=STATES, default=[], help="run cells that ended so once more")
    arguments = parser.parse_args()
    bench = Bench(arguments.again)
    for draw in arguments.draws:
        for name in arguments.only:
            bench.run(networks()[name], arguments.runtimes, draw)
    Console(width=200).print(cells_table(bench.document), json.dumps(bench.document.get("verdicts"), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
