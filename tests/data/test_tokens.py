"""Words as tokens."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekd.data._tokens import UNKNOWN, encode_words, words_of
from edgekd.data.dataset import PADDING

SENTENCES = st.lists(st.text(alphabet="abc' É!1 ", max_size=20), min_size=1, max_size=6)


def test_the_most_frequent_words_come_first_and_ties_by_the_alphabet():
    assert words_of(["the film, The PLOT", "a film isn't the film"], 6) == {"film": 2, "the": 3, "a": 4, "isn't": 5}


def test_words_are_tokens_cut_and_filled_up():
    tokens = encode_words(["A film!", "the film a film", "?"], {"film": 2, "a": 3}, 3)
    assert tokens.dtype == np.int32
    assert tokens.tolist() == [[3, 2, PADDING], [UNKNOWN, 2, 3], [UNKNOWN, PADDING, PADDING]]


@given(SENTENCES, st.integers(0, 8), st.integers(1, 5))
def test_every_sentence_has_a_token_and_padding_is_at_its_end(sentences, size, length):
    vocabulary = words_of(sentences, size)
    assert sorted(vocabulary.values()) == list(range(2, 2 + len(vocabulary)))
    assert len(vocabulary) <= max(0, size - 2)
    tokens = encode_words(sentences, vocabulary, length)
    real = tokens != PADDING
    assert real[:, 0].all()
    assert (real[:, :-1] >= real[:, 1:]).all()
    assert tokens.max() < max(size, 2)
