"""Regression: numbers from inputs; outputs are (N, k) or, for one number, (N,), labels (N, k) or (N,)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgekd.metrics import Metric, mae, r2, rmse
from edgekd.tasks._base import Array, Shape, Task, require_finite, require_width

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Regression(Task):
    """k numbers a sample, in `unit`; `metric_name` decides, `robust` errors count by their size, not by its square."""

    metric_name: Literal["rmse", "mae", "r2"] = "rmse"
    unit: str = ""
    robust: bool = False
    outputs: ClassVar[str] = "outputs are (N, k), with labels (N, k)"

    @property
    def metrics(self) -> Sequence[Metric]:
        """RMSE, MAE and R²; the one asked for comes first."""
        found = (rmse.metric(self.unit), mae.metric(self.unit), r2.metric())
        return sorted(found, key=lambda metric: metric.name != self.metric_name)

    def check(self, labels: Array, where: str, width: int | None = None, *, unlabelled: bool = False) -> Array:
        """Return labels (N, k) as float32."""
        values = require_finite(labels, where, "numbers (N,) or (N, k)", (1, 2))
        return require_width(values.reshape(len(values), -1), where, width)

    def fits(self, outputs: Shape, labels: Array) -> bool:
        """Return whether there are as many outputs as labels."""
        wanted = (len(labels), *labels.shape[1:])
        return tuple(outputs) == wanted or (*outputs, 1) == wanted or tuple(outputs) == (*wanted, 1)

    def loss(self, outputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the mean squared error or, where it is to be robust, the mean absolute error."""
        error = outputs.reshape(labels.shape) - labels
        return {"absolute_error": error.abs().mean()} if self.robust else {"squared_error": error.square().mean()}

    def decide(self, outputs: Array) -> Array:
        """Return the outputs themselves."""
        return outputs.reshape(len(outputs), -1)

    def constant(self, labels: Array) -> Array:
        """Return the labels' mean."""
        level: Array = labels.mean(axis=0, dtype=np.float64).astype(np.float32)
        return level

    def width(self, labels: Array, names: Sequence[str]) -> int:
        """Return k."""
        return int(labels.shape[1])
