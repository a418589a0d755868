"""Pairs of short sequences of tokens, as alike as the tokens that they share."""

import numpy as np
import torch
from torch import Tensor, nn

from edgekd.bundle import Preprocessing
from edgekd.data.dataset import Dataset, Split
from edgekd.tasks.sentence_pairs import SentencePairs

VOCABULARY, LONGEST = 64, 20


def load() -> Dataset:
    """64 training, 32 validation and 32 test pairs; sequences hold 4 to 12 tokens of a space for 20."""
    train, val, test = (split(seed, pairs) for seed, pairs in enumerate((64, 32, 32)))
    return Dataset("pairs", train, val, test, (), Preprocessing(), task=SentencePairs())


def split(seed: int, pairs: int) -> Split:
    """Rows 2i and 2i+1 share the first of their tokens; the score is how many of all."""
    random = np.random.default_rng(seed)
    tokens = np.zeros((2 * pairs, LONGEST), np.int32)
    scores = np.zeros(pairs, np.float32)
    for pair in range(pairs):
        length = int(random.integers(4, 13))
        shared = int(random.integers(0, length + 1))
        rows = random.integers(1, VOCABULARY, (2, length))
        rows[1, :shared] = rows[0, :shared]
        tokens[2 * pair : 2 * pair + 2, :length] = rows
        scores[pair] = shared / length
    return Split(tokens, np.repeat(scores, 2))


def lopsided() -> nn.Module:
    """An encoder with one hidden channel of 10,000, which nothing reads."""
    return _Lopsided()


class _Lopsided(nn.Module):
    offset: Tensor

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.table, self.up = nn.Embedding(VOCABULARY, width), nn.Linear(width, width)
        self.down = nn.Linear(width - 1, 32)
        self.register_buffer("offset", torch.tensor([1e4] + [0.0] * (width - 1)))

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = torch.relu(self.up(self.table(tokens).mean(1)) + self.offset)
        embedding: Tensor = self.down(hidden[:, 1:])
        return embedding
