"""Stored answers: what a few logits keep of all of them, and what half precision costs."""

import math

import numpy as np
import pytest
import torch

from edgekd.distillation import Output
from edgekd.recipe import Cache
from edgekd.training.logit_codec import Encoding, largest, restored

CPU = torch.device("cpu")


def random_teacher(classes=1000, deviation=3.0):
    return torch.randn(200, classes, generator=torch.Generator().manual_seed(0)) * deviation


def plain_restored(logits, count):
    """The definition, in float64 loops: the kept classes' probabilities, the rest of the mass in equal parts."""
    exponentials = [math.exp(value) for value in logits]
    probabilities = [value / sum(exponentials) for value in exponentials]
    kept = sorted(range(len(logits)), key=lambda index: -logits[index])[:count]
    rest = (1 - sum(probabilities[index] for index in kept)) / (len(logits) - count)
    return [probabilities[index] if index in kept else rest for index in range(len(logits))]


def distance(logits, other, temperature):
    """Mean total variation distance."""
    difference = (logits / temperature).softmax(1) - (other / temperature).softmax(1)
    return (difference.abs().sum(1) / 2).mean().item()


def test_the_rest_of_the_mass_is_spread_evenly_over_the_other_classes():
    logits = random_teacher()[:5]
    found = restored(*largest(logits, 32), 1000).softmax(1)
    expected = torch.tensor([plain_restored(row, 32) for row in logits.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=0)  # float32 sums over 1000 classes


@pytest.mark.parametrize(("temperature", "error"), [(1, 0.12), (2, 0.38), (4, 0.26)])
def test_a_temperature_moves_it_by_what_the_docstring_says(temperature, error):
    logits = random_teacher()
    sparse = restored(*largest(logits, 32), 1000)
    softened = (sparse / temperature).softmax(1)
    assert softened.sum(1).allclose(torch.ones(200))
    assert distance(logits, sparse, temperature) == pytest.approx(error, abs=0.01)  # a mean over 200 samples
    kept, classes = largest((logits / temperature).softmax(1), 32)
    if temperature > 1:
        assert (softened.gather(1, classes) < kept[:, :-1]).all()


def test_more_classes_are_nearer():
    logits = random_teacher()
    errors = [distance(logits, restored(*largest(logits, count), 1000), 4) for count in (1, 10, 100, 999)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-5  # one class is left, and it gets the whole rest


def test_the_largest_of_each_position_are_kept_of_maps():
    """As of a batch whose samples are the positions."""
    maps = random_teacher(20)[:24].reshape(2, 3, 4, 20).movedim(3, 1)
    settings = Cache(top_k=4)
    encoding = Encoding(settings, (), 20)
    stored = encoding.encode(Output(maps))
    assert {name: array.shape for name, array in stored.items()} == {"logits": (2, 5, 3, 4), "classes": (2, 4, 3, 4)}
    found = encoding.decode(stored, CPU).logits.movedim(1, 3).reshape(24, 20)
    torch.testing.assert_close(found, restored(*largest(random_teacher(20)[:24], 4), 20))


def round_trip(answers, **settings):
    encoding = Encoding(Cache(**settings), ("tap",), answers.shape[1])
    rows = encoding.encode(Output(answers, {"tap": answers[:, :4]}))
    return rows, encoding.decode(rows, CPU)


def test_stores_classes_in_as_few_bytes_as_they_need():
    rows, output = round_trip(random_teacher(), top_k=10)
    assert {name: (array.dtype, array.shape[1:]) for name, array in rows.items()} == {
        "logits": (np.float32, (11,)), "classes": (np.uint16, (10,)), "feature-0": (np.float16, (4,)),
    }  # fmt: skip
    assert output.logits.shape == (200, 1000)
    rows, output = round_trip(random_teacher(classes=70_000)[:3], top_k=10)
    assert rows["classes"].dtype == np.uint32
    assert torch.equal(output.logits.argmax(1), random_teacher(classes=70_000)[:3].argmax(1))


def test_as_many_as_there_are_classes_is_all_of_them():
    logits = random_teacher(classes=10)
    rows, output = round_trip(logits, top_k=10)
    assert "classes" not in rows
    assert torch.equal(output.logits, logits)


def test_half_precision_keeps_eleven_bits_and_stays_finite():
    logits = random_teacher(classes=10)
    rows, output = round_trip(logits, logits="float16")
    assert rows["logits"].dtype == np.float16
    torch.testing.assert_close(output.logits, logits, rtol=2**-11, atol=2**-24)  # half a unit in the last place
    assert round_trip(logits * 1e6, logits="float16")[1].logits.abs().max() == 65504
