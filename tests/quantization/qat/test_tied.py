"""Layers that share a weight under a name each."""

import torch
from torch import nn

from edgekd.quantization.qat import calibrate, export_qdq, prepare
from edgekd.quantization.scheme import SCHEMES


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.second(self.first(x).relu()))
        return out


def test_tied_layers_are_in_int8_too() -> None:
    scheme, x = SCHEMES["int8-asymmetric"], torch.randn(8, 8)
    prepared = prepare(Tied(), scheme, x)
    assert prepared.weights == {"first.weight", "head.weight"}
    calibrate(prepared, [x])
    stored = [value for value in export_qdq(prepared, x, scheme).graph.initializer if len(value.dims) == 2]
    assert len(stored) == 3
    assert {value.data_type for value in stored} == {3}  # INT8
