"""Pairs of short sequences of tokens, as alike as the tokens that they share."""

import numpy as np

from edgekd.bundle import Preprocessing
from edgekd.data.dataset import Dataset, Split

VOCABULARY, LONGEST = 64, 20


def load() -> Dataset:
    """64 training, 32 validation and 32 test pairs; sequences hold 4 to 12 tokens of a space for 20."""
    train, val, test = (split(seed, pairs) for seed, pairs in enumerate((64, 32, 32)))
    return Dataset("pairs", train, val, test, (), Preprocessing(), unit=2)


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
