"""Sentences as tokens, by a tokenizer file that came with a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekd.data.dataset import PADDING, Array
from edgekd.errors import MissingExtraError


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
