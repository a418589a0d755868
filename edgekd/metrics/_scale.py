"""The scale that a metric is on: its name, its unit and which way is better; how its numbers are held together."""

import math
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any, Literal

PERCENT = "%"
_SPACE = "\u00a0"  # a unit stays on its number's line


@dataclass(frozen=True)
class Scale:
    """A metric's name, unit and direction. `%` stands for a fraction, printed as a percentage; "" for no unit."""

    name: str
    _: KW_ONLY
    better: Literal["higher", "lower"] = "higher"
    unit: str = PERCENT

    @property
    def scale(self) -> "Scale":
        """This alone, of whatever else it is."""
        return Scale(self.name, better=self.better, unit=self.unit)

    @property
    def factor(self) -> int:
        """What a number is multiplied by to be printed."""
        return 100 if self.unit == PERCENT else 1

    def gain(self, value: float, than: float) -> float:
        """Return by how much `value` is better than another one; negative where it is worse."""
        return value - than if self.better == "higher" else than - value

    def allowance(self, share: float, of: float) -> float:
        """Return what a permitted loss is beside a number: of a fraction itself, of all else that share of it."""
        return share if self.unit == PERCENT else share * abs(of)

    def describe(self) -> dict[str, Any]:
        """Return name, unit and direction, as JSON."""
        return asdict(self.scale)

    def text(self, value: float, digits: int = 1) -> str:
        """Return 0.913 as `91.3 %`, or 0.4231 as `0.423 px`."""
        return self._with_unit(self.figures(value, digits), self.unit)

    def difference(self, value: float, digits: int = 1) -> str:
        """Return 0.004 as `+0.4 points`, or -0.02 as `−0.0200 px`."""
        text = self.figures(abs(value), digits)
        sign = "±" if float(text.replace(",", "")) == 0 else "−" if value < 0 else "+"
        return self._with_unit(sign + text, "points" if self.unit == PERCENT else self.unit)

    def figures(self, value: float, digits: int = 1) -> str:
        """Return the number alone, a percentage with so many digits, all else with three; no minus before zero."""
        places = digits if self.unit == PERCENT else _places(value)
        text = f"{self.factor * value:,.{places}f}"
        return text.lstrip("-") if float(text.replace(",", "")) == 0 else text

    @staticmethod
    def _with_unit(text: str, unit: str) -> str:
        return f"{text}{_SPACE}{unit}".rstrip(_SPACE)


def _places(value: float) -> int:
    """Decimals that leave three significant digits."""
    return max(0, 2 - math.floor(math.log10(abs(value)))) if abs(value) > 1e-6 else 3
