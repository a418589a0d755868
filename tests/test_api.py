"""The user's own model, from PyTorch to a measured bundle."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import edgekd
from edgekd.bundle import load_bundle
from edgekd.errors import BadInputError
from edgekd.pipeline.calibrated import metric
from edgekd.plugins import names
from edgekd.quantization.qat import export_float
from edgekd.recipe import Training


class Own(nn.Module):
    """A plain network, as a user would have written it."""

    def __init__(self, width):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(2 * width, 3)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def stripes(count, seed):
    """Three classes of 12×12 images: horizontal, vertical and diagonal stripes in noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    rows, columns = np.mgrid[:12, :12]
    waves = np.stack([np.sin(rows * 1.5), np.sin(columns * 1.5), np.sin((rows + columns) * 1.1)])
    images = 128 + 60 * waves[labels] + random.normal(0, 20, (count, 12, 12))
    return images.clip(0, 255).astype(np.uint8)[:, None], labels


@pytest.fixture(scope="module")
def quantized():
    torch.manual_seed(0)
    data = stripes(1200, 0), stripes(300, 1)
    teacher = edgekd.train(Own(8), data, training=Training(epochs=2))
    losses = [edgekd.KD(temperature=4), edgekd.Hint({"features": "features"})]
    student = edgekd.distill(teacher, Own(4), data, losses, training=Training(epochs=3))
    return edgekd.quantize(student, "int8-asymmetric", data, teacher, training=Training(epochs=1, learning_rate=0.01))


def test_a_users_model_becomes_a_measured_bundle(quantized, tmp_path):
    bundle = edgekd.export(quantized, target="x86-onnxruntime", out=tmp_path)
    manifest = load_bundle(bundle)
    assert (manifest.scheme, manifest.precision) == ("int8-asymmetric", "int8")
    assert manifest.inputs[0].preprocessing is not None
    result = edgekd.benchmark(bundle, replicates=1, seconds=0.05, count=10)
    assert 0 < result["low"] <= result["p50"] <= result["p99"]


def test_the_student_learned(quantized):
    inputs = torch.from_numpy((stripes(300, 2)[0] / np.float32(255)).astype(np.float32))
    mean, std = quantized.data.preprocessing.mean[0], quantized.data.preprocessing.std[0]
    with torch.no_grad():
        where = next(quantized.module.parameters()).device  # a GPU, if there is one
        answers = quantized.module(((inputs - mean) / std).to(where)).argmax(1).cpu().numpy()
    assert (answers == stripes(300, 2)[1]).mean() > 0.9  # three classes that no noise hides; chance is a third


def test_another_schemes_target_is_refused_with_what_to_do(quantized, tmp_path):
    with pytest.raises(BadInputError, match=r"scheme='int8-symmetric'"):
        edgekd.export(quantized, target="jetson-orin-nano", out=tmp_path)


def test_data_that_are_no_data():
    with pytest.raises(BadInputError, match="must be an edgekd.data.Dataset or"):
        edgekd.distill(Own(4), Own(4), "mnist")
    with pytest.raises(BadInputError, match="x_train has 2 samples, y_train 1"):
        edgekd.distill(
            Own(4), Own(4), ((np.zeros((2, 1, 4, 4)), np.zeros(1, int)), (np.zeros((2, 1, 4, 4)), np.zeros(2, int)))
        )


def test_a_teacher_with_its_classes_in_another_order_is_doubted(quantized, capsys):
    data, teacher = (stripes(200, 0), stripes(200, 1)), copy.deepcopy(quantized.student)
    edgekd.distill(teacher, Own(2), data, training=Training(epochs=1))
    assert "warning" not in capsys.readouterr().err
    with torch.no_grad():
        for parameter in teacher.head.parameters():
            parameter.copy_(parameter.roll(1, 0))
    edgekd.distill(teacher, Own(2), data, training=Training(epochs=1))
    assert "may be chance" in capsys.readouterr().err
    assert "classes in another order" in str(edgekd.compare(teacher, quantized.student, data))


def test_two_networks_are_compared_on_the_test_split():
    torch.manual_seed(0)
    data, teacher, student = (stripes(400, 0), stripes(300, 1)), Own(8), Own(4)
    edgekd.train(teacher, data, training=Training(epochs=3))
    found = edgekd.compare(teacher, student, data)
    teacher_metric, student_metric = (found.run[name]["metric"]["mean"] for name in ("teacher", "student"))
    assert found.tax == pytest.approx(teacher_metric - student_metric, abs=1e-12)  # the same two float64 numbers
    assert found.gap_recovered is None
    assert "there is no scratch control" in str(found)
    beside = edgekd.compare(teacher, teacher, data, scratch=student)
    assert (beside.tax, beside.gap_recovered) == (0, 1)  # a student that is its teacher
    assert beside.run["distillation"]["agreement"] == 1
    assert "scratch student" in str(beside)


class Keeps(Own):
    """The usual way to freeze norms."""

    def train(self, mode=True):
        super().train(mode)
        self.features[1].eval()
        return self


def put_to_rest():
    model = Own(4)
    model.features[1].eval()
    return model


def with_fixed_weights():
    model = Own(4)
    model.features[0].requires_grad_(False)
    return model


@pytest.mark.parametrize("make", [lambda: Keeps(4), put_to_rest, with_fixed_weights])
def test_what_is_frozen_stays_frozen(make):
    model, name = make(), "0.weight" if make is with_fixed_weights else "1.running_mean"
    before = {key: value.clone() for key, value in model.features.state_dict().items()}
    edgekd.train(model, (stripes(64, 0), stripes(30, 1)), training=Training(epochs=1, precision="float32"))
    after = model.features.state_dict()
    assert torch.equal(after[name], before[name])
    assert not torch.equal(after["3.weight"], before["3.weight"])


def test_a_model_with_nothing_to_train_is_one_line():
    with pytest.raises(BadInputError, match="nothing to train: every parameter of the model is frozen"):
        edgekd.train(Own(4).requires_grad_(False), (stripes(64, 0), stripes(30, 1)))


class Rule(nn.Module):
    """A teacher without weights."""

    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3)), x.amin((1, 2, 3))], 1)


def test_teachers_may_have_no_weights_and_networks_may_be_wrapped(tmp_path):
    data, settings = (stripes(64, 0), stripes(30, 1)), Training(epochs=1, precision="float32")
    for teacher, student in ((Rule(), Own(4)), (nn.DataParallel(Own(8)), torch.compile(Own(4), backend="eager"))):
        before = [parameter.clone() for parameter in student.parameters()]
        edgekd.distill(teacher, student, data, training=settings, folder=tmp_path / type(teacher).__name__)
        assert not all(map(torch.equal, before, student.parameters()))
    assert not (tmp_path / "Rule" / "answers").exists()  # nothing would tell whose they are
    student = Own(4)
    with pytest.raises(BadInputError, match="teacher and student are the same network"):
        edgekd.distill(nn.DataParallel(student), student, data)


def test_calibration_alone(quantized, tmp_path):
    calibrated = edgekd.quantize(quantized.student, "int8-symmetric", quantized.data, training=None, ranges="mse")
    assert calibrated.module is None
    assert {row["layer"] for row in calibrated.layers} >= {"features.0", "head"}
    with pytest.warns(UserWarning, match="jetson-orin-nano is written, but not proven: "):
        bundle = edgekd.export(calibrated, target="jetson-orin-nano", out=tmp_path)
    assert load_bundle(bundle).backend == "tensorrt"


def test_a_budget_on_the_metric_is_kept(quantized):
    strict = edgekd.quantize(quantized.student, "int8-symmetric", quantized.data, training=None, max_drop=0.0)
    data, original = quantized.data, export_float(quantized.student, torch.zeros(2, 1, 12, 12))
    assert metric(strict.graph, data, data.val) >= metric(original, data, data.val)


def test_options_that_do_not_fit_are_refused(quantized):
    with pytest.raises(BadInputError, match="unknown key 'range'; did you mean 'ranges'"):
        edgekd.quantize(quantized.student, "int8-symmetric", quantized.data, training=None, range="mse")
    with pytest.raises(BadInputError, match="unknown key 'calibration'"):  # of a recipe's alone
        edgekd.quantize(quantized.student, "int8-symmetric", quantized.data, training=None, calibration=8)
    with pytest.raises(BadInputError, match="epochs: a training needs at least one"):
        edgekd.train(copy.deepcopy(quantized.student), quantized.data, training=Training(epochs=0))
    with pytest.raises(BadInputError, match="for calibration only"):
        edgekd.quantize(quantized.student, "int8-symmetric", quantized.data, ranges="mse")


def test_the_package_offers_what_it_lists():
    assert all(hasattr(edgekd, name) for name in dir(edgekd))
    assert {name.replace("-", "") for name in names("edgekd.distillation")} <= {name.lower() for name in dir(edgekd)}
    assert not hasattr(edgekd, "nonsense")
