"""Teach a small student, quantise it for its chip, and prove on that chip that what was trained is deployed."""

import functools
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd.api import compare, distill, map_classes, quantize, train
    from edgekd.api_deploy import benchmark, evaluate, export, freeze_observers, prepare, recalibrate_batchnorm
    from edgekd.data import Dataset
    from edgekd.recipe import Ramp, Training
    from edgekd.training.distiller import Distiller

_DEPLOY = ("benchmark", "evaluate", "export", "freeze_observers", "prepare", "recalibrate_batchnorm")

__all__ = [
    "Dataset",
    "Distiller",
    "Ramp",
    "Training",
    "benchmark",
    "compare",
    "distill",
    "evaluate",
    "export",
    "freeze_observers",
    "map_classes",
    "prepare",
    "quantize",
    "recalibrate_batchnorm",
    "train",
]

_HOMES = {
    "Dataset": "edgekd.data",
    "Distiller": "edgekd.training.distiller",
    "Ramp": "edgekd.recipe",
    "Training": "edgekd.recipe",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("edgekd")
    homes = dict.fromkeys(__all__, "edgekd.api") | dict.fromkeys(_DEPLOY, "edgekd.api_deploy") | _HOMES
    home = homes.get(name) or (None if name.startswith("_") else _methods().get(name))
    if home is None:
        raise AttributeError(f"module 'edgekd' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_methods()])


@functools.cache
def _methods() -> dict[str, str]:
    """Where each distillation method lives: `BornAgain` in `born_again`; read, not imported, for that takes torch."""
    sources = Path(__file__).with_name("distillation").glob("[!_]*.py")
    return {
        name: f"edgekd.distillation.{path.stem}"
        for path in sources
        for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if name.lower() == path.stem.replace("_", "")
    }
