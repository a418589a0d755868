"""A network that computes as the chip will: its own code, with rounded weights and rounded results of its calls."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from edgekd.networks import at_rest, evaluating
from edgekd.quantization.qat.fake_quant import Quantizer, fake_quantize_weight
from edgekd.quantization.qat.watch import Watched
from edgekd.quantization.scheme import Scheme

QUANTIZERS = "edgekd_quantizers"


@dataclass(frozen=True)
class Place:
    """Which quantiser rounds a call's result, and which of its observed sources that is (None: a copy of one)."""

    quantizer: str
    source: int | None


class Simulated(Watched):
    """A network in training for a scheme; quantisers are children of this module, all else is the network's own.

    `places` are by the keys of calls, `weights` the parameters that are rounded, `ceilings` the largest values that
    some quantisers are given.
    """

    edgekd_quantizers: nn.ModuleDict

    def __init__(
        self,
        network: nn.Module,
        scheme: Scheme,
        quantizers: Mapping[str, Quantizer],
        places: Mapping[str, Place],
        weights: frozenset[str],
        ceilings: Mapping[str, float],
    ) -> None:
        resting = at_rest(network)
        super().__init__(network)
        self.edgekd_quantizers = nn.ModuleDict(quantizers)
        self.scheme, self.places, self.weights, self.ceilings = scheme, places, weights, ceilings
        self.rounds_weights = True
        self._resting = [name for name, module in network.named_modules() if module in resting]

    def value(self, key: str, x: Tensor) -> Tensor:
        """The result of a call, rounded if there is a place for it."""
        place = self.places.get(key)
        if place is None:
            return x
        rounded: Tensor = self.edgekd_quantizers[place.quantizer](x, place.source)
        return rounded

    def weight(self, name: str | None, weight: Tensor, axis: int) -> Tensor:
        """A layer's weight as the chip will hold it."""
        if name not in self.weights or not self.rounds_weights:
            return weight
        return fake_quantize_weight(weight, self.scheme.weight_max, axis)

    def extra_repr(self) -> str:
        """What it simulates: by its state alone, one scheme's network would be taken for another's."""
        return f"{self.scheme.name}, rounds {', '.join(sorted(self.weights))}"

    def train(self, mode: bool = True) -> "Simulated":
        """Set the mode as the network's own `train` does; what was put to rest before stays so."""
        super().train(mode)
        for name in vars(self).get("_resting", ()):
            self.network.get_submodule(name).training = False
        return self


@contextmanager
def only_observing(prepared: Simulated) -> Iterator[None]:
    """Inside, the network computes in float as in evaluation, and its observers watch."""
    quantizers = [module for module in prepared.modules() if isinstance(module, Quantizer)]
    with evaluating(prepared):
        prepared.rounds_weights = False
        for quantizer in quantizers:
            quantizer.simulating, quantizer.training = False, True
        try:
            yield
        finally:
            prepared.rounds_weights = True
            for quantizer in quantizers:
                del quantizer.simulating
