"""Mixed precision by measured gain: the tensors whose rounding costs the outputs most stay in float, few of them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape

import numpy as np
import onnx

from edgekd.onnx_graph import Array
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.parts import Part, parts_of
from edgekd.quantization.reference import Reference, joined
from edgekd.quantization.scheme import Scheme
from edgekd.quantization.sensitivity import Nearness, Ranking, Switched, nearness, tensor_switch

Arrays = dict[str, Array]
BATCH = 64
ENOUGH_DB = 21.0  # on the samples that decide; a proof wants 20 on all
HOPELESS_DB, JUDGED_ON = 19.0, 8  # so far on so few samples is not enough on all
ALLOWED = 10 ** (-ENOUGH_DB / 10)
RANKING = 0.6  # of the time
NEGLIGIBLE = 1.0  # of the noise that is allowed: tensors that cost less together need no ranks
NAMED = 3  # of the costliest tensors
SECONDS = 60.0  # of CPU time that a search may take


@dataclass(frozen=True)
class Refined:
    """A mixed model, the tensors that it keeps in float, and how near float int8 was before and is now.

    `costly` are the tensors that cost most, kept or not, the worst first, as far as they were told apart; `met` says
    whether enough was gained, `tried` how many candidates were, `cut_short` that the `seconds` ended the search: more
    might find a model that is nearer, or keeps fewer. `outputs` are what the reference makes of all samples, where the
    search has asked it as it would be asked again.
    """

    model: onnx.ModelProto
    kept: tuple[str, ...]
    costly: tuple[str, ...]
    before: Nearness
    after: Nearness
    met: bool
    seconds: float
    tried: int = 0
    cut_short: bool = False
    outputs: Arrays | None = None


@dataclass(frozen=True)
class Start:
    """What calibration alone made of a float model, samples, and how near it comes.

    `outputs` and `exact` are its answers to the samples and those in float.
    """

    model: onnx.ModelProto
    samples: Arrays
    outputs: Arrays
    exact: Arrays
    near: Nearness


def refine(
    calibrator: Calibrator, scheme: Scheme, start: Start, keep_float: Sequence[str] = (), seconds: float = SECONDS
) -> Refined:
    """Keep as few of the costliest tensors of a float model in float as bring its int8 form near enough.

    How many are tried first follows from what each costs alone; it stops after `seconds`, with the best that was found
    by then.
    """
    began, judge = time.process_time(), _Judge(start, parts_of(calibrator.plain))
    switched = Switched(calibrator, scheme, start.samples, keep_float, weights=False)
    units = {group: frozenset({tensor_switch(group)}) for group in switched.tensors}
    ranking = Ranking(units, switched.cost, began + seconds * RANKING)
    ranked = ranking.divide(NEGLIGIBLE * ALLOWED, NAMED)
    costly = tuple(edge for group in ranking.known_alone[:NAMED] for edge in switched.tensors[group][:1])
    met, tried = start.near.db >= ENOUGH_DB, 0
    best = Refined(start.model, (), costly, start.near, start.near, met, seconds, outputs=start.outputs)
    search = _Fewest(len(units), 0 if best.met else _foreseen(list(ranking.costs.values())))
    while search.count and time.process_time() < began + seconds:
        ranked = ranking.divide(NEGLIGIBLE * ALLOWED, search.count)
        kept = tuple(edge for group in list(ranking.costs)[: search.count] for edge in switched.tensors[group])
        attempt = calibrator.quantized(scheme, (*keep_float, *map(escape, kept)))
        found, outputs = judge(attempt)
        enough = found.db >= ENOUGH_DB
        if enough or (found.db > best.after.db and not best.met):
            best = replace(best, model=attempt, kept=kept, after=found, met=enough, outputs=outputs)
        tried += 1
        search.go_on(enough)
    return replace(best, tried=tried, cut_short=bool(search.count) or not ranked)


class _Judge:
    """How near float an attempt is: on a few samples where it is far from enough there, on a batch of them else."""

    def __init__(self, start: Start, parts: Mapping[str, Sequence[Part]]) -> None:
        self._exact, self._parts = start.exact, parts
        self._total = max(len(array) for array in start.samples.values())
        self._samples = {name: array[:BATCH] for name, array in start.samples.items()}

    def __call__(self, attempt: onnx.ModelProto) -> tuple[Nearness, Arrays | None]:
        """Return that, and the outputs where they are all that asking for a batch at once would give, bit for bit."""
        reference, made, count = Reference(attempt), list[Arrays](), 0
        for given, outputs in reference.parts(self._samples, JUDGED_ON):
            made.append(dict(outputs))
            before, count = count, count + max(map(len, given.values()))
            if before < JUDGED_ON <= count and (found := self._near(made, count)).db < HOPELESS_DB:
                return found, None
        as_asked = reference.at_once(self._samples, JUDGED_ON) == reference.at_once(self._samples, BATCH)
        return self._near(made, count), joined(made) if as_asked and self._total <= BATCH else None

    def _near(self, made: Sequence[Arrays], count: int) -> Nearness:
        exact = {name: array[: len(array) * count // self._total] for name, array in self._exact.items()}
        return nearness(exact, joined(made), self._parts)


@dataclass
class _Fewest:
    """Which number of tensors to try next: more until one is enough, then between that and the last that was not.

    0 ends it. An eighth of what is enough is not worth another attempt.
    """

    most: int
    count: int
    too_few: int = 0
    enough: int | None = None

    def __post_init__(self) -> None:
        self.count = min(self.count, self.most)

    def go_on(self, enough: bool) -> None:
        """Take in whether `count` was enough."""
        if enough:
            self.enough = self.count
        else:
            self.too_few = self.count
        if self.enough is None:
            self.count = min(self.most, self.count + 1 + self.count // 2) if self.count < self.most else 0
        elif self.enough - self.too_few > max(1, self.enough // 8):
            self.count = (self.too_few + self.enough) // 2
        else:
            self.count = 0


def _foreseen(costs: Sequence[float]) -> int:
    """How many of the costliest tensors have to stay in float for what the others cost together to be little enough."""
    left = np.cumsum(np.asarray(costs)[::-1])[::-1] > ALLOWED
    return max(1, int(left.sum()))
