"""Files of sentences, a line each."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekd.data import load
from edgekd.errors import BadInputError
from edgekd.recipe import Data
from edgekd.user_code import look_in

TRAIN = [("a good film", "good"), ("a bad one", "bad"), ("good", "good"), ("bad, bad", "bad")] * 10
TEST = [("good one", "good"), ("unheard", "bad")]
OWN = """
import numpy as np


def letters(sentences):
    rows = [[ord(letter) for letter in sentence] for sentence in sentences]
    return np.array([row + [0] * (30 - len(row)) for row in rows])


def floats(sentences):
    return letters(sentences) / 2


def broken(sentences):
    return sentences[0].nothing
"""


def write(folder: Path, suffix: str, **more: str) -> Data:
    for part, pairs in (("train", TRAIN), ("test", TEST)):
        lines = [
            "\t".join(pair) if suffix == "tsv" else json.dumps(dict(zip("td", pair, strict=True))) for pair in pairs
        ]
        (folder / f"{part}.{suffix}").write_text("\n".join(lines) + "\n\n")
    names = {} if suffix == "tsv" else {"text": "t", "label": "d"}
    return Data(name="text", path=str(folder), options={"length": 5, **names, **more})


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_the_most_frequent_words_of_train_are_the_tokens(tmp_path: Path, suffix: str) -> None:
    found = load(write(tmp_path, suffix), seed=0)
    assert found.classes == ("bad", "good")
    # bad is in thirty places, a and good in twenty, and these go by the alphabet; 1 is a word that train has not
    np.testing.assert_array_equal(found.test.inputs, [[4, 6, 0, 0, 0], [1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(found.test.labels, [1, 0])
    assert len(found.train) + len(found.val) == len(TRAIN)


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_a_sentence_that_nobody_labelled_is_no_class_of_its_own(tmp_path: Path, suffix: str) -> None:
    data = write(tmp_path, suffix)
    path = tmp_path / f"train.{suffix}"
    path.write_text(path.read_text().strip() + ("\nfair\t\n" if suffix == "tsv" else '\n{"t": "fair", "d": ""}\n'))
    with pytest.raises(BadInputError, match=rf"train\.{suffix}: line 41 has no class; leave out what nobody labelled"):
        load(data, seed=0)


def test_a_tokenizer_of_ones_own_makes_the_tokens(tmp_path: Path) -> None:
    (tmp_path / "own_letters.py").write_text(OWN)
    look_in(tmp_path)
    found = load(write(tmp_path, "tsv", tokenizer="own_letters:letters"), seed=0)
    np.testing.assert_array_equal(found.test.inputs[0], [ord(letter) for letter in "good "])
    for name, words in (("floats", "returned float64"), ("broken", "no attribute 'nothing'"), ("no", "has no 'no'")):
        with pytest.raises(BadInputError, match=words):
            load(write(tmp_path, "tsv", tokenizer=f"own_letters:{name}"), seed=0)


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("test.tsv", "no tab", "line 3 has 0 tabs"),
        ("test.tsv", "two\ttabs\there", "line 3 has 2 tabs"),
        ("test.tsv", "fine\tgreat", "class 'great' is not in train.tsv"),
        ("test.jsonl", "{", "line 3 is no JSON"),
        ("test.jsonl", "[1, 2]", "line 3 needs the sentence as 't'"),
        ("test.jsonl", '{"t": "fine"}', "and its class as 'd'"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, name: str, line: str, words: str) -> None:
    data, path = write(tmp_path, name.partition(".")[2]), tmp_path / name
    path.write_text(path.read_text().rstrip("\n") + f"\n{line}\n")
    with pytest.raises(BadInputError, match=words):
        load(data, seed=0)


def test_a_header_is_no_sample(tmp_path: Path) -> None:
    data = write(tmp_path, "tsv")
    for name in ("train.tsv", "test.tsv"):
        path = tmp_path / name
        path.write_text(f"sentence\tlabel\n{path.read_text()}", encoding="utf-8-sig")
    with pytest.raises(BadInputError, match=r"train\.tsv: line 1 is a header, as no other has the class 'label'"):
        load(data, seed=0)


def test_absent_empty_and_binary_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"needs data\.path"):
        load(Data(name="text"), seed=0)
    with pytest.raises(BadInputError, match=r"train\.tsv"):
        load(Data(name="text", path=str(tmp_path)), seed=0)
    data = write(tmp_path, "tsv")
    (tmp_path / "test.tsv").write_text("\n")
    with pytest.raises(BadInputError, match=r"test\.tsv holds no sentence"):
        load(data, seed=0)
    (tmp_path / "test.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match=r"test\.tsv"):
        load(data, seed=0)
