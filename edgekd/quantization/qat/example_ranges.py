"""The ranges that one batch of examples shows, before a network is given quantisers."""

import copy
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from edgekd.quantization.placement import Range


def example_ranges(
    module: fx.GraphModule, makers: Mapping[str, fx.Node], edges: Collection[str], example: Tensor
) -> dict[str, Range]:
    """Return the range of each edge, made by a node of `makers`, that a copy shows as it evaluates `example`."""
    twin = copy.deepcopy(module).cpu().eval()
    recorder = _Recorder(twin, {makers[edge].name: edge for edge in edges})
    with torch.no_grad():
        recorder.run(example.cpu())
    return recorder.ranges


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, watched: Mapping[str, str]) -> None:
        super().__init__(module)
        self.watched = watched
        self.ranges: dict[str, Range] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, and note the extremes of what it makes."""
        value = super().run_node(n)
        if n.name in self.watched:
            self.ranges[self.watched[n.name]] = (float(value.min()), float(value.max()))
        return value
