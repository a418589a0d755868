"""What is in memory while samples go to a device and their answers are scored: a chunk of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekd
from edgekd import api_deploy
from edgekd.bundle import Preprocessing
from edgekd.data.dataset import Dataset, Split, prepare
from edgekd.data.sources import Joined
from edgekd.onnx_import.inputs import fitted_inputs
from edgekd.pipeline import deploy, parity_evidence
from edgekd.pipeline.stages import Stages
from edgekd.progress import SILENT
from tests import factories
from tests.measure.bundles import make_bundle
from tests.memory import peak_of
from tests.pipeline.test_deploy import recipe

COUNTS, CHUNK = (3_000, 30_000), 1 << 20
PREPROCESSING = Preprocessing(scale=1 / 255)
Array = np.ndarray[Any, Any]


def split(count: int, seed: int) -> Split:
    """Images whose first pixels are brightest where their class is, but for one in ten."""
    random = np.random.default_rng(seed)
    inputs, labels = random.integers(0, 200, (count, 3, 16, 16), np.uint8), random.integers(0, 10, count)
    inputs[np.arange(count), 0, 0, np.where(np.arange(count) % 10, labels, 9 - labels)] = 255
    return Split(inputs, labels)


def answered(device: Any, bundle: Path, stored: dict[str, Array], *more: Any) -> dict[str, Array]:
    """What a device would say that finds the brightest of the first pixels."""
    return {"logits": np.ascontiguousarray(stored["input"][:, 0, 0, :10])}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(parity_evidence, "CHUNK_BYTES", CHUNK)
    for module in (parity_evidence, api_deploy):
        monkeypatch.setattr(module, "predict", answered)
    return make_bundle(tmp_path / "bundle", "onnxruntime")


def test_a_variant_is_scored_on_both_splits_without_either_in_memory_again(bundle: Path, tmp_path: Path) -> None:
    val, test = (split(count, seed) for seed, count in enumerate(COUNTS))
    data = Dataset("made", val, val, test, tuple("abcdefghij"), PREPROCESSING)
    stages = Stages(tmp_path / "run", SILENT)
    context = deploy.DeployContext(recipe("local:"), data, stages, SILENT, {}, {})
    found, peak = peak_of(lambda: deploy._trial(context, None, bundle, {}))  # type: ignore[arg-type]
    assert (found["val"], found["metric"], found["broken"]) == (0.9, 0.9, None)
    assert peak < 6 * CHUNK < test.inputs.nbytes / 3


def test_what_is_compared_with_the_float_graph_spans_chunks(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    val, test = split(100, 0), split(50, 1)
    data = Dataset("made", val, val, test, tuple("abcdefghij"), PREPROCESSING)
    context = deploy.DeployContext(recipe("local:"), data, Stages(tmp_path / "run", SILENT), SILENT, {}, {})
    floating = make_bundle(tmp_path / "float", "onnxruntime", "float")
    monkeypatch.setattr(parity_evidence, "CHUNK_BYTES", 1)  # six samples
    expected = prepare(val.inputs, PREPROCESSING)[:, 0, 0, :10]
    for reference, why in (
        (expected, ""),
        (np.concatenate([expected[:90], -expected[90:]]), "SQNR to the float graph"),
    ):
        monkeypatch.setattr(deploy.DeployContext, "answers", lambda *_, found=reference: {"logits": found})
        broken = deploy._trial(context, None, floating, {})["broken"]  # type: ignore[arg-type]
        assert str(broken or "").startswith(why)
        assert bool(broken) == bool(why)


def test_a_bundle_is_evaluated_chunk_by_chunk(bundle: Path) -> None:
    samples = split(10_000, 0)
    inputs = samples.inputs.astype(np.float64)  # which no bundle takes: they are copied
    result, peak = peak_of(lambda: edgekd.evaluate(bundle, (inputs, samples.labels), "accuracy"))
    assert (result.value, result.samples) == (0.9, 10_000)
    assert peak < 6 * CHUNK < inputs.nbytes / 8
    with pytest.raises(edgekd.errors.BadInputError, match="input has 10000 samples, labels 9999"):
        edgekd.evaluate(bundle, (inputs, samples.labels[1:]), "accuracy")


def test_a_metric_of_ones_own_has_all_answers_at_once(bundle: Path) -> None:
    samples = split(700, 0)

    def share(outputs: Array, labels: Array) -> float:
        return float((outputs.argmax(1) == labels).mean())

    assert edgekd.evaluate(bundle, (prepare(samples.inputs, PREPROCESSING), samples.labels), share).value == 0.9


def test_samples_beyond_the_limit_are_not_looked_at() -> None:
    model = factories.float_resnet()
    inputs = np.random.default_rng(0).normal(size=(20_000, 3, 16, 16))
    inputs[512:] = np.nan
    found, peak = peak_of(lambda: fitted_inputs(model, {"x": inputs}, Path("x.npz"), 512))
    np.testing.assert_array_equal(found["input"], inputs[:512].astype(np.float32))
    assert peak < 4 * found["input"].nbytes < inputs.nbytes / 10
    moved = np.moveaxis(inputs, 0, 3)
    found, peak = peak_of(lambda: fitted_inputs(model, {"x": moved}, Path("x.npz"), 512, {"input": 3}))
    assert found["input"].shape == (512, 3, 16, 16)
    assert peak < 5 * found["input"].nbytes


@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("second", [0, 2])
def test_two_inputs_one_after_the_other_are_sliced_as_one_array(first: int, second: int) -> None:
    parts = [np.arange(2 * count).reshape(count, 2) + 10 * count for count in (first, second)]
    whole, both = np.concatenate(parts), Joined(*parts)
    assert len(both) == len(whole)
    for start in range(len(whole) + 2):
        for stop in range(start, len(whole) + 2):
            np.testing.assert_array_equal(both[start:stop], whole[start:stop])
