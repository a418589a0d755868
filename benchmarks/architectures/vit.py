"""ViT-tiny (Dosovitskiy et al., arXiv:2010.11929; sizes of Touvron et al., arXiv:2012.12877)."""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention, query, key and value from one layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, width), same."""
        count, length, width = x.shape
        parts = self.qkv(x).reshape(count, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        scores = (query @ key.transpose(-2, -1) * self.scale).softmax(-1)
        result: Tensor = self.project((scores @ value).transpose(1, 2).reshape(count, length, width))
        return result


class Block(nn.Module):
    """Attention and a feed-forward network, each normalised before and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.hidden, self.act, self.out = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, L, width), same."""
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.out(self.act(self.hidden(self.norm2(x))))
        return result


class ViT(nn.Module):
    """Patches as tokens behind a class token, blocks, and a linear classifier of the class token."""

    def __init__(self, side: int, patch: int, classes: int, width: int = 192, depth: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width) * 0.2)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.fc = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, side, side) to logits (N, classes)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        logits: Tensor = self.fc(self.norm(self.blocks(x))[:, 0])
        return logits
