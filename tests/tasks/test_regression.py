"""Numbers are taught, quantised, proven and scored by their own metric."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import edgekd
from edgekd.data import as_dataset
from edgekd.data.npz import read_npz
from edgekd.errors import BadInputError
from edgekd.metrics import mae, r2, rmse
from edgekd.tasks.regression import Regression
from edgekd.training import evaluate
from tests.small_run import complaint
from tests.small_run import edgekd as edgekd_cli
from tests.tasks.nets import FINE, QUICK, Array, squares, vector_net

PIXELS = Regression(unit="px")


def data(outputs: int = 1) -> Any:
    """Where a rectangle begins, in pixels."""
    parts = [squares(count, seed) for seed, count in enumerate((320, 96))]
    return tuple((images, boxes[:, :outputs] if outputs > 1 else boxes[:, 0]) for images, boxes in parts)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(2, 40))
def test_metrics_are_their_definitions(seed: int, outputs: int, count: int) -> None:
    """As scikit-learn's, whose several outputs are averaged: loops in float64; sums in another order."""
    random = np.random.default_rng(seed)
    found, wanted = random.normal(size=(2, count, outputs))
    errors = [[found[i][k] - wanted[i][k] for i in range(count)] for k in range(outputs)]
    means = [sum(wanted[i][k] for i in range(count)) / count for k in range(outputs)]
    missed = [sum(e * e for e in row) for row in errors]
    spread = [sum((wanted[i][k] - means[k]) ** 2 for i in range(count)) for k in range(outputs)]
    expected = {
        mae.metric: sum(sum(abs(e) for e in row) / count for row in errors) / outputs,
        rmse.metric: sum((m / count) ** 0.5 for m in missed) / outputs,
        r2.metric: sum(1 - m / s for m, s in zip(missed, spread, strict=True)) / outputs,
    }
    for metric, value in expected.items():
        assert metric()(found, wanted) == pytest.approx(value, rel=1e-9)


def test_constant_labels_explain_nothing_but_themselves() -> None:
    same = np.ones((4, 1))
    assert (r2.metric()(same, same), r2.metric()(same + 1, same)) == (1.0, 0.0)


@pytest.mark.parametrize("shape", [(8,), (8, 1)])
def test_one_number_may_come_with_or_without_its_axis(shape: tuple[int, ...]) -> None:
    labels, outputs = np.arange(8.0).reshape(8, 1), np.arange(1.0, 9).reshape(shape)
    assert PIXELS.fits(outputs.shape, labels)
    assert rmse.metric()(outputs, labels) == 1.0
    loss = PIXELS.loss(torch.from_numpy(outputs), torch.from_numpy(labels))
    assert {name: term.item() for name, term in loss.items()} == {"squared_error": 1.0}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array(["a"] * 60), "y_train must hold numbers (N,) or (N, k), not <U1 (60,)"),
        (np.where(np.arange(60) == 7, np.nan, 1.0), "y_train is not finite in sample 7"),
        (np.zeros((60, 2, 2)), "y_train must hold numbers (N,) or (N, k), not float64 (60, 2, 2)"),
    ],
)
def test_labels_that_are_no_numbers_are_one_clear_line(labels: Array, words: str) -> None:
    x = np.zeros((60, 4), np.float32)
    with pytest.raises(BadInputError) as caught:
        as_dataset(((x, labels), (x, labels)), task="regression")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_with_other_outputs_is_one_clear_line() -> None:
    with pytest.raises(BadInputError, match=r"puts out \(2, 3\) for 2 samples; outputs are \(N, k\)"):
        edgekd.train(vector_net(2, 3), data(2), task="regression", training=QUICK)


def test_a_regressor_goes_all_the_way(tmp_path: Path) -> None:
    """Its teacher by labels, the student by its teacher, int8 and a bundle that is scored in pixels."""
    task, own = PIXELS, data()
    teacher = edgekd.train(vector_net(12, 1), own, task=task, training=QUICK)
    student = edgekd.distill(teacher, vector_net(6, 1, seed=1), own, task=task, training=QUICK)
    dataset = as_dataset(own, task=task)
    level, _ = task.chance(dataset.test.labels)
    assert evaluate(student, dataset, dataset.test) < 0.6 * level
    found = edgekd.compare(teacher, student, own, task=task)
    assert found.run["metric_scale"] == {"name": "rmse", "better": "lower", "unit": "px"}
    assert " px" in str(found).replace("\u00a0", " ")
    assert "MAE" in str(found)

    quantized = edgekd.quantize(student, "int8-asymmetric", own, teacher, task=task, training=FINE)
    bundle = edgekd.export(quantized, "x86-onnxruntime", tmp_path)
    x, y = own[1]
    np.savez(tmp_path / "test.npz", x=x, y=y)
    done = edgekd_cli("verify", bundle, "--data", tmp_path / "test.npz", "--json")
    assert done.exit_code == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["metric"] == {"name": "rmse", "better": "lower", "unit": "px"}
    assert 0 < verdict["rmse"] < 0.6 * level
    assert read_npz(tmp_path / "test.npz")["y"].shape == (96,)

    np.savez(tmp_path / "wrong.npz", x=x, y=np.stack([y, y], 1))
    said = complaint(edgekd_cli("verify", bundle, "--data", tmp_path / "wrong.npz", "--json"), 2)
    assert "outputs are (N, k), with labels (N, k)" in said
    shown = edgekd_cli("verify", bundle, "--data", tmp_path / "test.npz")
    assert " px" in shown.stdout
