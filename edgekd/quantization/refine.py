"""Mixed precision by measured gain: the tensors whose rounding costs the outputs most stay in float, few of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape

import numpy as np
import onnx

from edgekd.onnx_graph import Array
from edgekd.quantization.calibrate import Calibrator
from edgekd.quantization.parts import parts_of
from edgekd.quantization.reference import Reference
from edgekd.quantization.scheme import Scheme
from edgekd.quantization.sensitivity import Nearness, Switched, nearness, ranked, tensor_switch

Arrays = dict[str, Array]
BATCH = 64
ENOUGH_DB = 21.0  # on the samples that decide; a proof wants 20 on all
RANKING = 0.6  # of the time
NEGLIGIBLE = 0.25  # of the noise that is allowed: tensors that cost less together need no ranks


@dataclass(frozen=True)
class Refined:
    """A mixed model, the tensors that it keeps in float, and how near float int8 was before and is now.

    `costly` are the tensors that cost most, kept or not, the worst first; `met` says whether enough was gained.
    """

    model: onnx.ModelProto
    kept: tuple[str, ...]
    costly: tuple[str, ...]
    before: Nearness
    after: Nearness
    met: bool


def refine(
    calibrator: Calibrator,
    scheme: Scheme,
    batch: Arrays,
    quantized: onnx.ModelProto,
    keep_float: Sequence[str] = (),
    seconds: float = 60.0,
) -> Refined:
    """Keep as few of the costliest tensors of a float model in float as bring its int8 form near enough.

    `quantized` is what calibration alone made of it. How many are tried first follows from what each costs alone; it
    stops after `seconds`, with the best that was found by then.
    """
    started = time.process_time()
    exact, parts = Reference(calibrator.plain).run(batch, BATCH), parts_of(calibrator.plain)

    def judge(attempt: onnx.ModelProto) -> Nearness:
        return nearness(exact, Reference(attempt).run(batch, BATCH), parts)

    start = judge(quantized)
    switched = Switched(calibrator, scheme, batch, keep_float)
    units = {group: frozenset({tensor_switch(group)}) for group in switched.tensors}
    allowed = float(10 ** (-ENOUGH_DB / 10))
    costs = ranked(units, switched.cost, NEGLIGIBLE * allowed, started + seconds * RANKING)
    ranks = list(costs)
    costly = tuple(edge for group in ranks[:3] for edge in switched.tensors[group][:1])
    best = Refined(quantized, (), costly, start, start, start.db >= ENOUGH_DB)
    search = _Fewest(len(ranks), 0 if best.met else _foreseen(list(costs.values())))
    while search.count and time.process_time() < started + seconds:
        kept = tuple(edge for group in ranks[: search.count] for edge in switched.tensors[group])
        attempt = calibrator.quantized(scheme, (*keep_float, *map(escape, kept)))
        found = judge(attempt)
        enough = found.db >= ENOUGH_DB
        if enough or (found.db > best.after.db and not best.met):
            best = Refined(attempt, kept, costly, start, found, enough)
        search.go_on(enough)
    return best


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
    left = np.cumsum(np.asarray(costs)[::-1])[::-1] > 10 ** (-ENOUGH_DB / 10)
    return max(1, int(left.sum()))
