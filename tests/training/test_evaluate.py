"""Predictions and accuracy."""

import numpy as np
import torch

from edgekd.data import prepare
from edgekd.training import evaluate, predict


def test_predicts_in_evaluation_mode_whatever_the_batch(blobs, network):
    data, model = blobs(), network()
    logits = predict(model, data, data.test, batch=7)
    assert model.training
    with torch.no_grad():
        whole = model.eval()(torch.from_numpy(prepare(data.test.inputs, data.preprocessing))).numpy()
    np.testing.assert_allclose(logits, whole, atol=1e-5)  # float32 sums in another order
    assert logits.dtype == np.float32
    assert logits.shape == (60, 3)
    assert not model.training


def test_accuracy_is_the_share_of_right_answers(blobs, network):
    data, model = blobs(), network()
    right = predict(model, data, data.test).argmax(1) == data.test.labels
    assert evaluate(model, data, data.test) == right.mean()
