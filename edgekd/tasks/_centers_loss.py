"""The loss of a centre head (Zhou et al., arXiv:1904.07850, eq. 1 to 4)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.tasks._centers import EDGES

LEAST = 0.7  # IoU that a box keeps when its centre is taken at the edge of its heat
ALPHA, BETA = 2, 4  # how much easy places, and places near a centre, count less


def center_terms(outputs: Tensor, labels: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the focal loss of the heat map, and mean absolute errors of sizes and offsets, by the number of boxes.

    Of outputs (N, C + 4, H, W) and labels (N, M, 5). Sizes and offsets are in cells.
    """
    cells, used = labels[..., :4] / stride, labels[..., 4] >= 0
    height, width = outputs.shape[2:]
    limit = torch.tensor([width, height], device=outputs.device)
    size, middle = cells[..., 2:] - cells[..., :2], (cells[..., :2] + cells[..., 2:]) / 2
    cell = torch.minimum(middle.floor(), limit - 1)
    count = used.sum().clamp(min=1)
    heat = _focal(outputs[:, :-EDGES], heat_maps(outputs[:, :-EDGES], cell, size, labels[..., 4]))
    places = (cell[..., 1] * width + cell[..., 0]).long()
    found = outputs[:, -EDGES:].flatten(2).gather(2, places[:, None].expand(-1, EDGES, -1)).transpose(1, 2)
    error = (found - torch.cat([size, middle - cell], dim=2)).abs() * used[..., None]
    return heat / count, error[..., :2].sum() / count, error[..., 2:].sum() / count


def heat_maps(like: Tensor, cell: Tensor, size: Tensor, classes: Tensor) -> Tensor:
    """Return for each class (N, C, H, W) the highest of its boxes' Gaussians, 1 at their cells.

    `cell` and `size` are (N, M, 2), x and y; `classes` (N, M), -1 where there is no box.
    """
    deviation = ((2 * _radius(size) + 1) / 6)[..., None].clamp(min=1e-3)
    across, down = (
        torch.exp(-((torch.arange(side, device=like.device) - cell[..., axis, None]) ** 2) / (2 * deviation**2))
        for axis, side in enumerate((like.shape[3], like.shape[2]))
    )
    each = down[..., :, None] * across[..., None, :]
    maps = like.new_zeros(len(like), like.shape[1] + 1, *like.shape[2:])  # the last one is that of unused rows
    channel = torch.where(classes < 0, like.shape[1], classes).long()[..., None, None].expand_as(each)
    return maps.scatter_reduce(1, channel, each.to(maps.dtype), "amax")[:, :-1]


def _radius(size: Tensor) -> Tensor:
    """How far (N, M) a box may move on both axes and still have the least IoU with itself."""
    sides, area = size.sum(2), size.prod(2)
    return (sides - (sides**2 - 4 * area * (1 - LEAST) / (1 + LEAST)).clamp(min=0).sqrt()) / 2


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """The sum of the penalty-reduced focal loss."""
    seen, missed = F.logsigmoid(logits), F.logsigmoid(-logits)
    there = missed.exp() ** ALPHA * seen
    elsewhere = (1 - wanted) ** BETA * seen.exp() ** ALPHA * missed
    return -torch.where(wanted == 1, there, elsewhere).sum()
