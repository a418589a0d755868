"""Change the code on purpose and see whether the tests notice; `make mutants`.

`DRAW` mutants, drawn by a seed from four packages, each in a process of its own, forked where all third-party packages
are imported, against the tests that run its line: those of its package, then all others, fastest first, until one fails
or `CPU` seconds are spent on either. All works on a copy of the last commit below build/mutants; what is known already
of an unchanged module and its tests is kept, so that it may be interrupted and goes on. A survivor is open unless
equivalent-mutants.toml says why no test can tell it.
"""

import argparse
import json
import shutil
import subprocess
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from benchmarks.covering import PACKAGES, Covering, cover, other_tests, own_tests
from benchmarks.forked import QUIET, fork, warm_up
from benchmarks.mutation import Mutant, mutants

ROOT, HERE = Path(__file__).parents[1], Path(__file__).parent
RESULTS, EQUIVALENT = HERE / "results" / "mutants.json", HERE / "equivalent-mutants.toml"
DRAW, CPU = 400, 60
Drawn = tuple[Mutant, Callable[[], str]]


def drawn(tree: Path, seed: int) -> list[Drawn]:
    """Return the mutants of least rank."""
    paths = sorted(path for package in PACKAGES for path in (tree / "edgekd" / package).rglob("*.py"))
    every = [one for path in paths for one in mutants(str(path.relative_to(tree)), path.read_text(encoding="utf-8"))]
    return sorted(every, key=lambda one: one[0].rank(seed))[:DRAW]


def copy(folder: Path) -> tuple[Path, str]:
    """A clean copy of the last commit, and its name."""
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    archive = subprocess.Popen(["git", "archive", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", tree], stdin=archive.stdout, check=True)
    return tree, commit


def trial(tree: Path, tests: list[str], seconds: float) -> str:
    """Run tests until one fails; return what became of the mutant."""
    code = fork(tree, lambda: int(pytest.main(["-x", *QUIET, "-m", "", *tests])), seconds)
    if code is None:
        return "killed: out of time"
    return "killed: crash" if code < 0 else {0: "survived", 1: "killed"}.get(code, "killed: import")


def judge(tree: Path, mutant: Mutant, source: str, covering: Covering) -> str:
    """What becomes of one mutant."""
    tests, seconds = covering.fastest(mutant, CPU)
    if not tests:
        return "survived: no test runs it"
    path = tree / mutant.path
    original = path.read_text(encoding="utf-8")
    path.write_text(source, encoding="utf-8")
    try:
        return trial(tree, tests, 5 + 3 * seconds)
    finally:
        path.write_text(original, encoding="utf-8")


def run(tree: Path, folder: Path, chosen: list[Drawn], package: str, end: float) -> dict[str, object]:
    """Judge what is not known yet of a package, until a time on the monotonic clock; return the results so far."""
    covering = cover(tree, folder, own_tests(tree, package))
    verdicts = judge_all(tree, chosen, covering, Known(folder / "verdicts.jsonl"), end)
    left = [one for one in chosen if verdicts.get(one[0].identity, "").startswith("survived")]
    if left and time.monotonic() < end:
        wider = cover(tree, folder, other_tests(tree, package))
        verdicts |= judge_all(tree, left, wider, Known(folder / "verdicts-of-others.jsonl"), end)
    return {"drawn": len(chosen), **summary(verdicts)}


def judge_all(tree: Path, chosen: list[Drawn], covering: Covering, known: "Known", end: float) -> dict[str, str]:
    """What becomes of each mutant before some tests, as far as there is time."""
    verdicts = dict[str, str]()
    control = judge(tree, chosen[0][0], (tree / chosen[0][0].path).read_text(encoding="utf-8"), covering)
    if control.startswith("killed"):
        raise SystemExit(f"the tests of {chosen[0][0].identity} fail without it: {control}")
    for mutant, source in chosen:
        key = mutant.identity, sha256((tree / mutant.path).read_bytes()).hexdigest()[:16], covering.digest(mutant)
        verdict = known.verdict(*key)
        if verdict is None and time.monotonic() < end:
            verdict = known.add(*key, judge(tree, mutant, source(), covering))
            print(f"{mutant.package} {len(verdicts) + 1}/{len(chosen)} {verdict}: {mutant.identity}", flush=True)
        if verdict is not None:
            verdicts[mutant.identity] = verdict
    return verdicts


class Known:
    """Verdicts of earlier runs: of a killed mutant until its module changes, of a survivor until its tests do, too."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, dict[tuple[str, str], tuple[str, str]]()
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            name, code, tests, verdict = json.loads(line)
            self.rows[name, code] = tests, verdict

    def verdict(self, name: str, code: str, tests: str) -> str | None:
        """What is known, if it still holds."""
        then, verdict = self.rows.get((name, code), ("", ""))
        return verdict if verdict.startswith("killed") or (verdict and then == tests) else None

    def add(self, name: str, code: str, tests: str, verdict: str) -> str:
        """Keep it."""
        self.rows[name, code] = tests, verdict
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, code, tests, verdict], ensure_ascii=False) + "\n")
        return verdict


def summary(verdicts: dict[str, str]) -> dict[str, object]:
    """Count; say of every survivor why it is equivalent, or that it is open."""
    reasons = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    survivors = {name: reasons.get(name, "open") for name, said in verdicts.items() if said.startswith("survived")}
    equivalent = sum(reason != "open" for reason in survivors.values())
    killed, counts = len(verdicts) - len(survivors), dict(Counter(verdicts.values()).most_common())
    return {
        "judged": len(verdicts),
        "killed": killed,
        "equivalent": equivalent,
        "verdicts": counts,
        "survivors": survivors,
    }


def main() -> None:
    """Run, and keep the results of each seed and package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=120, help="stop after so long; the next run goes on")
    parser.add_argument("--packages", nargs="+", default=PACKAGES, choices=PACKAGES)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutants")
    options = parser.parse_args()
    end, (tree, commit) = time.monotonic() + 60 * options.minutes, copy(options.out.resolve())
    warm_up(tree)
    every = drawn(tree, options.seed)
    for package in options.packages:
        chosen = [one for one in every if one[0].package == package]
        found = run(tree, options.out.resolve(), chosen, package, end)
        kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        kept.setdefault(f"seed {options.seed}", {})[package] = {"commit": commit, **found}
        RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
