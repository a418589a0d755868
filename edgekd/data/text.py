"""Sentences and their classes, one a line: train, test and, optionally, val, as .tsv or .jsonl.

A line is the sentence, a tab and the class, or a JSON object that has both by name.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import PositiveInt

from edgekd import user_code
from edgekd.data._tokens import encode_words, words_of
from edgekd.data.csv import class_index, class_name, in_order
from edgekd.data.dataset import Array, resized
from edgekd.data.raw import Raw, from_arrays
from edgekd.errors import BadInputError
from edgekd.plugins import told
from edgekd.reading import reading, require_file
from edgekd.recipe import Data
from edgekd.schema import Schema

Pair = tuple[str, str]


class Options(Schema):
    """How sentences become tokens, and what they and their classes are called in JSON.

    `tokenizer` is `module:function`, from a list of sentences to integers (N, L), filled up with 0; without one the
    most frequent `words` of train are the tokens. All are cut, or filled up, to `length`.
    """

    tokenizer: str | None = None
    words: PositiveInt = 8192
    length: PositiveInt = 64
    text: str = "text"
    label: str = "label"


def read(data: Data) -> Raw:
    """Return tokens int32 (N, length) of the files in `data.path`; classes are the names found in train, in order."""
    if data.path is None:
        raise BadInputError("data 'text' needs data.path, the folder with train and test as .tsv or .jsonl")
    options, root = Options.parse(data.options, "data 'text': options"), Path(data.path)
    suffix = ".jsonl" if (root / "train.jsonl").is_file() else ".tsv"
    parts = ("train", "test", "val") if (root / f"val{suffix}").is_file() else ("train", "test")
    paths = {part: root / f"{part}{suffix}" for part in parts}
    found = {part: _pairs(path, options) for part, path in paths.items()}
    _require_no_header(found, paths)
    classes, encode = in_order(name for _, name in found["train"]), _encoder(options, found["train"])
    arrays: dict[str, Array] = {"classes": np.array(classes)}
    for part, pairs in found.items():
        arrays[f"x_{part}"] = encode([text for text, _ in pairs])
        arrays[f"y_{part}"] = np.array([class_index(name, classes, paths[part]) for _, name in pairs], np.int64)
    return from_arrays(arrays, data.path)


def _pairs(path: Path, options: Options) -> list[Pair]:
    split = partial(_named, options=options) if path.suffix == ".jsonl" else _tabbed
    with reading(path, "a text file in UTF-8"):
        lines = require_file(path).read_text(encoding="utf-8-sig").split("\n")
    pairs = [split(line, f"{path}: line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not pairs:
        raise BadInputError(f"{path} holds no sentence")
    return pairs


def _require_no_header(found: Mapping[str, Sequence[Pair]], paths: Mapping[str, Path]) -> None:
    """Raise BadInputError where all files begin with the same line, and its class is that of no other."""
    firsts = {pairs[0] for pairs in found.values()}
    once = all([name for _, name in pairs].count(pairs[0][1]) == 1 for pairs in found.values())
    if len(firsts) == 1 and once:
        name = firsts.pop()[1]
        raise BadInputError(f"{paths['train']}: line 1 is a header, as no other has the class {name!r}: remove it")


def _tabbed(line: str, where: str) -> Pair:
    text, *names = line.rstrip("\r").split("\t")
    if len(names) != 1:
        raise BadInputError(f"{where} has {len(names)} tabs; a sentence, a tab and its class are wanted")
    return text, class_name(names[0], where)


def _named(line: str, where: str, options: Options) -> Pair:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{where} is no JSON: {error}") from error
    text, label = (found.get(name) if isinstance(found, dict) else None for name in (options.text, options.label))
    if not isinstance(text, str) or not isinstance(label, str | int):
        raise BadInputError(f"{where} needs the sentence as {options.text!r} and its class as {options.label!r}")
    return text, class_name(str(label), where)


def _encoder(options: Options, train: Sequence[Pair]) -> Callable[[list[str]], Array]:
    if options.tokenizer is None:
        return partial(
            encode_words, vocabulary=words_of([text for text, _ in train], options.words), length=options.length
        )
    return partial(_own, user_code.custom(options.tokenizer, "tokenizer"), options)


def _own(tokenizer: Callable[[list[str]], Any], options: Options, sentences: list[str]) -> Array:
    """What the user's function makes of sentences."""
    where = f"tokenizer {options.tokenizer!r}"
    try:
        tokens = np.asarray(tokenizer(sentences))
    except Exception as error:  # the user's own code: anything may come out of it
        raise BadInputError(f"{where}: {told(error)}") from error
    if tokens.ndim != 2 or len(tokens) != len(sentences) or tokens.dtype.kind not in "iu" or (tokens < 0).any():
        wanted = f"no integers ({len(sentences)}, L) from 0 on"
        raise BadInputError(f"{where} returned {tokens.dtype} {tokens.shape}, {wanted}")
    return resized(tokens.astype(np.int32), options.length)
