"""Data for a bundle that exists: what does not suit it is refused in one line, never evaluate_on."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from edgekd.backends.assemble import write_bundle
from edgekd.backends.reference import Reference
from edgekd.bundle import Preprocessing, read_manifest
from edgekd.data.dataset import prepare
from edgekd.data.ranges import range_of
from edgekd.metrics import find_metric
from edgekd.pipeline import parity_evidence
from edgekd.pipeline.samples import asked_metric
from edgekd.schema import TaskSpec
from edgekd.target import load_target
from tests import factories
from tests.measure.bundles import edit_manifest
from tests.small_run import complaint, edgekd

COUNT, CLASSES = 48, 10
QUICK = ("--replicates", 1, "--seconds", 0.01, "--count", 1)
Array = np.ndarray[Any, Any]


def pixels(count: int, seed: int) -> Array:
    smooth = factories.smooth_inputs((3, 16, 16), count, seed)
    return (128 + 30 * smooth).clip(0, 255).astype(np.uint8)


X = pixels(COUNT, 1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes uint8 images."""
    raw, preprocessing = pixels(256, 0), Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.12,))
    inputs = prepare(raw, preprocessing)
    model = factories.quantize(factories.resnet(0)[0], inputs)
    folder = tmp_path_factory.mktemp("samples") / "bundle"
    write_bundle(
        model, load_target("x86-onnxruntime"), folder, "int8", name="net", inputs={"input": inputs},
        outputs=Reference(model).run({"input": inputs}), preprocessing=preprocessing, labels=list("abcdefghij"),
        ranges={"input": range_of(raw)}, task=TaskSpec(name="classification"),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def labels(bundle: Path) -> Array:
    """Of X: what the bundle's own network answers, but for one in four."""
    source = json.loads((bundle / "manifest.json").read_text())["inputs"][0]["preprocessing"]
    inputs = prepare(X, Preprocessing.parse(source, "manifest"))
    model = factories.quantize(factories.resnet(0)[0], prepare(pixels(256, 0), Preprocessing.parse(source, "")))
    found: Array = next(iter(Reference(model).run({"input": inputs}).values())).argmax(1)
    return np.where(np.arange(COUNT) % 4 == 0, (found + 1) % CLASSES, found)


def ask(folder: Path, bundle: Path, x: Array, y: Any, *more: Any, command: str = "verify") -> Any:
    np.savez(folder / "t.npz", x=x, y=y)
    return edgekd(command, bundle, "--data", folder / "t.npz", "--json", *more)


def accuracy(done: Any) -> float:
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    return float((found[0] if isinstance(found, list) else found)["accuracy"])


def test_the_same_numbers_in_another_format_give_the_same(bundle: Path, labels: Array, tmp_path: Path) -> None:
    """Exactly: they are the same float32 when they come to the model. Three of four labels are its own."""
    for x, y in ((X, labels.astype(np.uint8)), (X.astype(np.int64), labels), (X.astype(np.float64), labels)):
        done = ask(tmp_path, bundle, x, y)
        assert accuracy(done) == 0.75
        assert done.stderr.count("warning") == 0
    assert accuracy(ask(tmp_path, bundle, X, labels, *QUICK, command="bench")) == 0.75


Y = np.arange(COUNT) % CLASSES
WRONG = {
    "0…1": (X / np.float32(255), Y, "x goes from 0 to 1, training or calibration inputs from 0 to 255"),
    "bits": (X > 127, Y, "x goes from 0 to 1, training or calibration inputs"),
    "beyond": (X.astype(np.int32) * 3, Y, "reaches beyond it by more than its width"),
    "channels last": (X.transpose(0, 2, 3, 1), Y, r"the model takes (N, 3, 16, 16)"),
    "flat": (X.reshape(COUNT, -1), Y, "the model takes (N, 3, 16, 16)"),
    "grey": (X[:, 0], Y, "the model takes (N, 3, 16, 16)"),
    "other size": (X[..., :12], Y, "the model takes (N, 3, 16, 16)"),
    "nan": (np.where(np.arange(COUNT)[:, None, None, None] == 5, np.nan, X), Y, "x is not finite in sample 5"),
    "complex": (X.astype(np.complex64), Y, "x must hold numbers"),
    "(N, 1)": (X, Y[:, None], "y must hold integer labels (N,), class indices, not int64 (48, 1)"),
    "one-hot": (X, np.eye(CLASSES, dtype=int)[Y], "y must hold integer labels (N,)"),
    "floats": (X, Y.astype(np.float32), "y must hold integer labels (N,), class indices, not float32"),
    "bool": (X, Y == 1, "y must hold integer labels (N,), class indices, not bool"),
    "strings": (X, Y.astype(str), "y must hold integer labels (N,)"),
    "0-d": (X, np.int64(3), "x has 48 samples, y 0"),
    "from 1": (X, Y + 1, "y holds 10 in sample 9; there are the classes 0 to 9"),
    "-1": (X, Y - 1, "y holds -1 in sample 0; class indices start at 0"),
    "fewer y": (X, Y[:-1], "x has 48 samples, y 47"),
    "fewer x": (X[:-1], Y, "x has 47 samples, y 48"),
    "none": (X[:0], Y[:0], "x has 0 samples, y 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_suit_is_refused_in_one_line(bundle: Path, tmp_path: Path, case: str) -> None:
    x, y, words = WRONG[case]
    for command, more in (("verify", ()), ("bench", QUICK)):
        assert words in complaint(ask(tmp_path, bundle, x, y, *more, command=command), 2)


def test_a_doubtful_range_is_warned_of_and_any_range_overrides(bundle: Path, labels: Array, tmp_path: Path) -> None:
    done = ask(tmp_path, bundle, (X / 255 - 0.5) / 0.12, labels)
    assert 0 <= accuracy(done) <= 1
    assert "warning: " in done.stderr
    assert "training or calibration inputs from 0 to 255" in done.stderr
    taken = ask(tmp_path, bundle, X / 255, labels, "--any-range")
    assert 0 <= accuracy(taken) <= 1
    assert "warning: " in taken.stderr


def test_an_older_bundle_says_nothing_of_ranges(bundle: Path, labels: Array, tmp_path: Path) -> None:
    older = shutil.copytree(bundle, tmp_path / "older")
    document = json.loads((older / "manifest.json").read_text())
    for spec in (*document["inputs"], *document["outputs"]):
        del spec["range"]
    del document["task"]
    (older / "manifest.json").write_text(json.dumps(document))
    done = ask(tmp_path, older, X, labels)
    assert (accuracy(done), "warning" in done.stderr) == (0.75, False)  # its classes have names
    edit_manifest(older, outputs=[spec | {"labels": None} for spec in document["outputs"]])
    done = ask(tmp_path, older, X, labels)
    assert accuracy(done) == 0.75
    assert "net does not say what it was taught: scored as classification, unless by --metric" in done.stderr
    said = complaint(ask(tmp_path, older, X, X[:, 0, 0, :2] / 255), 2)
    assert said.split(" · ")[0].endswith("not say what it was taught: --metric names what it is scored by")


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([("boxes", [None, 20, 4]), ("scores", [None, 20, 10])], "boxes (N, 20, 4) of float32, scores (N, 20, 10)"),
        ([("scores", [None, 10]), ("boxes", [None, 4])], "puts out scores (N, 10) of float32, boxes (N, 4)"),
        ([("map", [None, 3, 16, 16])], "puts out map (N, 3, 16, 16) of float32"),
        ([("logit", [None, 1])], "puts out logit (N, 1) of float32"),
        ([("value", [None])], "puts out value (N) of float32"),
    ],
)
def test_labels_do_not_score_what_is_no_classifier(bundle: Path, tmp_path: Path, outputs: Any, words: str) -> None:
    other = shutil.copytree(bundle, tmp_path / "other")
    edit_manifest(other, outputs=[{"name": name, "dtype": "float32", "shape": shape} for name, shape in outputs])
    for command, more in (("verify", ()), ("bench", QUICK)):
        said = complaint(ask(tmp_path, other, X, Y, *more, command=command), 2)
        assert words in said
        assert "cannot be scored by labels (48,): logits are (N, classes)" in said


def test_an_exported_model_knows_the_range_that_it_was_calibrated_on(tmp_path: Path) -> None:
    """Pixels do not suit a model that was calibrated on normalised inputs."""
    model, inputs = factories.resnet(0)
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "calibration.npz", input=inputs[:64])
    words = ("--target", "x86-onnxruntime", "--out", tmp_path, "--calibration", tmp_path / "calibration.npz")
    assert edgekd("export", tmp_path / "net.onnx", *words).exit_code == 0
    exported = tmp_path / "net-x86-onnxruntime"
    assert accuracy(ask(tmp_path, exported, inputs[64:80], Y[:16])) <= 1
    refused = complaint(ask(tmp_path, exported, X.astype(np.float32), Y), 2)
    assert "training or calibration inputs from" in refused


def test_a_metric_that_the_task_has_is_the_tasks_with_its_options(bundle: Path) -> None:
    ground = TaskSpec(name="segmentation", options={"ignore": 0})
    manifest = read_manifest(bundle).model_copy(update={"task": ground})
    logits, maps = np.zeros((2, 3, 4, 4)), np.zeros((2, 4, 4), int)
    logits[:, 1], maps[:, 0] = 1.0, 1
    assert asked_metric("pixel-accuracy", manifest)(logits, maps) == 1.0  # all but what is ignored
    assert find_metric("pixel-accuracy")(logits, maps) == 0.25


def test_labels_are_checked_for_a_named_metric_as_well(bundle: Path, tmp_path: Path) -> None:
    said = complaint(ask(tmp_path, bundle, X, Y + 1, "--metric", "calibration-error"), 2)
    assert "y holds 10 in sample 9; there are the classes 0 to 9" in said
    said = complaint(ask(tmp_path, bundle, X, Y, "--metric", "macro-f1"), 2)
    assert "metric 'macro_f1' cannot score outputs (48, 10), labels (48,): it takes outputs (N, L)" in said


def score(bundle: Path, data: Path, *more: Any) -> float:
    return accuracy(edgekd("verify", bundle, "--data", data, "--json", *more))


def folder_of_images(root: Path, labels: Array, classes: str = "abcdefghij") -> Path:
    """A folder of pictures for each class, of X."""
    for place, (pixels, label) in enumerate(zip(X, labels, strict=True)):
        (root / classes[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(root / classes[label] / f"{place}.png")
    return root


RECIPE = """
data         = { name = "npz", path = "PATH" }
teacher      = { model = "resnet" }
student      = { model = "resnet" }
distillation = [{ method = "kd" }]
"""


def recipe_of(folder: Path, labels: Array, classes: str = "abcdefghij") -> Path:
    """A recipe whose test split is X, with classes in this order."""
    numbers = np.array(["abcdefghij".index(name) for name in classes])
    order, train = np.argsort(numbers), {"x_train": pixels(256, 0), "y_train": np.arange(256) % CLASSES}
    np.savez(folder / "all.npz", **train, x_test=X, y_test=order[labels], classes=np.array(list(classes)))
    (folder / "own.toml").write_text(RECIPE.replace("PATH", str(folder / "all.npz")))
    return folder / "own.toml"


def test_a_folder_of_images_and_a_recipe_are_as_good_as_an_npz(
    bundle: Path, labels: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly: the same pixels; read in chunks of 24, of which never more than one is in memory."""
    asked, predict = list[int](), parity_evidence.predict

    def counted(device: Any, folder: Path, stored: Any, *more: Any) -> Any:
        asked.append(len(next(iter(stored.values()))))
        return predict(device, folder, stored, *more)

    monkeypatch.setattr(parity_evidence, "predict", counted)
    monkeypatch.setattr(parity_evidence, "CHUNK_BYTES", 25 * X[:1].size * 4)
    assert score(bundle, folder_of_images(tmp_path / "photos", labels)) == 0.75
    assert asked == [24, 24]
    assert score(bundle, recipe_of(tmp_path, labels)) == 0.75


def test_classes_in_another_order_are_mapped_by_their_names(bundle: Path, labels: Array, tmp_path: Path) -> None:
    assert score(bundle, recipe_of(tmp_path, labels, "jihgfedcba")) == 0.75
    photos = folder_of_images(tmp_path / "set" / "test", labels)
    shutil.rmtree(photos / "a", ignore_errors=True)  # a class that has no sample is still counted
    assert 0 < score(bundle, tmp_path / "set") < 1


def test_what_of_a_folder_is_not_scored_is_told(bundle: Path, labels: Array, tmp_path: Path) -> None:
    photos = folder_of_images(tmp_path / "photos", labels)
    for path in (photos / "a").iterdir():
        path.rename(path.with_suffix(".tif"))
    told = " ".join(edgekd("verify", bundle, "--data", photos).stderr.split())
    assert "left out, as no images:" in told
    assert ".tif" in told
    assert "(.bmp, .jpeg, .jpg, .png, .webp) of 'a'" in told


def test_what_no_bundle_can_be_scored_by_is_one_clear_line(bundle: Path, labels: Array, tmp_path: Path) -> None:
    def said(data: Path, of: Path = bundle) -> str:
        return complaint(edgekd("verify", of, "--data", data), 2)

    photos = folder_of_images(tmp_path / "photos", labels)
    (photos / "a").rename(photos / "k")
    assert "k: not a class of net; known: a, b, c" in said(photos)
    (tmp_path / "empty").mkdir()
    assert "empty: no images (.bmp, .jpeg, .jpg, .png, .webp)" in said(tmp_path / "empty")
    recipe = recipe_of(tmp_path, labels)
    strange = recipe.with_name("strange.npz")
    with np.load(tmp_path / "all.npz") as found:
        np.savez(strange, **{**found, "classes": np.array(list("abcdefghix"))})
    recipe.write_text(recipe.read_text().replace("all.npz", "strange.npz"))
    assert "its classes are a, b, c, d, e, f, g, h, i, x, those of net a, b, c, d, e, f, g, h, i, j" in said(recipe)
    nameless = shutil.copytree(bundle, tmp_path / "nameless")
    (output,) = json.loads((nameless / "manifest.json").read_text())["outputs"]
    edit_manifest(nameless, outputs=[output | {"labels": list("aabcdefghi")}])
    np.savez(strange, **{**dict(np.load(tmp_path / "all.npz")), "classes": np.array(list("ihgfedcbaa"))})
    assert "those of net a, a, b, c, d, e, f, g, h, i: give the data those, in order" in said(recipe, nameless)
    edit_manifest(nameless, outputs=[output | {"labels": None}])
    assert "that knows the names of its classes, which net is not: give an npz with x and y" in said(photos, nameless)


def test_chunks_are_whole_batches_and_tear_no_pairs() -> None:
    one = np.zeros((1, 3, 224, 224), np.uint8)
    found = parity_evidence.chunks(500, [one], batch=8)
    assert [(part.start, part.stop) for part in found][:2] == [(0, 96), (96, 192)]  # 64 MB of float32 are 111
    assert found[-1].stop == 500
    assert parity_evidence.chunks(3, [np.zeros((1, 1 << 26), np.float32)], batch=1) == [slice(0, 3)]
