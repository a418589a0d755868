"""Sentences as tokens: by a tokenizer file that came with a model, or by the most frequent words."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgekd.data.dataset import PADDING, Array
from edgekd.errors import MissingExtraError

UNKNOWN = PADDING + 1
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def encode(sentences: Sequence[str], tokenizer: Path, length: int) -> Array:
    """int32 (N, length): the tokens of each sentence, cut or filled up with `PADDING`.

    Raises MissingExtraError without the `tokenizers` package.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("text") from error
    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_padding()
    reader.enable_truncation(length)
    tokens = np.full((len(sentences), length), PADDING, np.int32)
    for row, encoding in zip(tokens, reader.encode_batch(list(sentences)), strict=True):
        row[: len(encoding.ids)] = encoding.ids
    return tokens


def words_of(sentences: Sequence[str], size: int) -> dict[str, int]:
    """Tokens of the most frequent lower-case words, `size` with `PADDING` and `UNKNOWN`; ties go by the alphabet."""
    counts = Counter(word for sentence in sentences for word in _words(sentence))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: UNKNOWN + 1 + rank for rank, word in enumerate(ranked[: max(0, size - 2)])}


def encode_words(sentences: Sequence[str], vocabulary: Mapping[str, int], length: int) -> Array:
    """int32 (N, length): each sentence's words, cut or filled up with `PADDING`; it has at least one token."""
    tokens = np.full((len(sentences), length), PADDING, np.int32)
    for row, sentence in zip(tokens, sentences, strict=True):
        found = [vocabulary.get(word, UNKNOWN) for word in _words(sentence)][:length] or [UNKNOWN]
        row[: len(found)] = found
    return tokens


def _words(sentence: str) -> list[str]:
    return WORD.findall(sentence.lower())
