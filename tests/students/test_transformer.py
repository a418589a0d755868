"""The encoder of tokens: shapes, padding that changes nothing, names to tap, and the exported graph."""

import numpy as np
import onnxruntime
import pytest
import torch

from edgekd.errors import BadInputError
from edgekd.quantization.qat import export_float
from edgekd.recipe import Model
from edgekd.students import build_model
from edgekd.training.taps import Taps

OPTIONS = {"vocabulary": 50, "positions": 16, "width": 16, "layers": 2, "heads": 2}


def build(classes=3, seed=0, **options):
    return build_model(Model(model="transformer", options=OPTIONS | options), classes, (16,), seed=seed).eval()


def sentences(count, length, seed=0):
    """Tokens (count, length); each sentence is one shorter than the one before."""
    tokens = torch.randint(1, 50, (count, length), generator=torch.Generator().manual_seed(seed))
    for row, sentence in enumerate(tokens):
        sentence[max(1, length - row) :] = 0
    return tokens


def test_gives_logits_for_classes_and_else_embeddings_of_length_one():
    tokens = sentences(4, 8)
    assert build()(tokens).shape == (4, 3)
    embeddings = build(classes=0)(tokens)
    assert embeddings.shape == (4, 16)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))


def test_padding_changes_nothing():
    model, tokens = build(), sentences(3, 8)
    longer = torch.nn.functional.pad(tokens, (0, 5))
    # Sums of another length round otherwise; hidden scores are -1e4, whose exponential is 0 in float32.
    torch.testing.assert_close(model(longer), model(tokens), rtol=0, atol=1e-6)
    for row, sentence in enumerate(tokens):
        alone = sentence[: 8 - row][None]
        torch.testing.assert_close(model(alone), model(tokens)[row][None], rtol=0, atol=1e-6)


def test_a_sentence_of_padding_alone_stays_finite():
    assert build()(torch.zeros(2, 5, dtype=torch.long)).isfinite().all()


def test_attention_can_be_tapped():
    model, tokens = build(), sentences(2, 8)
    attention = "encoder.layer.1.attention.self"
    names = ["embeddings", "encoder.layer.0", *(f"{attention}.{part}" for part in ("query", "scores", "probabilities"))]
    with Taps(model, names) as taps:
        model(tokens)
    shapes = [tuple(taps.features[name].shape) for name in names]
    assert shapes == [(2, 8, 16), (2, 8, 16), (2, 8, 16), (2, 2, 8, 8), (2, 2, 8, 8)]
    probabilities = taps.features[f"{attention}.probabilities"]
    assert not probabilities.transpose(1, 3)[tokens == 0].any()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, 2, 8))


def test_the_exported_graph_takes_any_batch_and_any_length():
    model = build(layers=1)
    session = onnxruntime.InferenceSession(export_float(model, sentences(2, 8)).SerializeToString())
    (entry,) = session.get_inputs()
    assert (entry.name, entry.shape, entry.type) == ("input", ["batch", "length"], "tensor(int64)")
    for count, length in ((1, 8), (3, 5), (2, 1), (1, 16)):
        tokens = sentences(count, length, seed=length)
        (logits,) = session.run(None, {"input": tokens.numpy()})
        # Both in float32, logits about 0.1: some tens of roundings.
        np.testing.assert_allclose(logits, model(tokens).detach().numpy(), rtol=0, atol=1e-6)


def test_refuses_a_width_that_its_heads_do_not_divide():
    with pytest.raises(BadInputError, match="width 16 is not a multiple of the 3 heads"):
        build(heads=3)
