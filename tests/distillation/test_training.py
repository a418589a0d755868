"""Every method that needs only images trains a tiny student from its name and the parameters of a recipe."""

import math

import pytest

from edgekd.distillation import load_methods
from edgekd.plugins import names
from edgekd.progress import SILENT
from edgekd.recipe import Data, Model, Training
from edgekd.students import build_model
from edgekd.training import Distill, LabelLoss, Teacher, teacher_taps, train
from tests.blobs import blobs

LAST_MAP = {"layers": {"stages.2": "stages.2"}}
TABLE = {
    "attention": {"layers": {"stages.1": "stages.1", "stages.2": "stages.2"}},
    "born-again": {},
    "crd": {"negatives": 16, "dimension": 8},
    "dist": {},
    "dkd": {},
    "hint": LAST_MAP,
    "kd": {},
    "mse": {},
    "multi-teacher": {},
    "mutual": {},
    "nst": LAST_MAP,
    "pkt": {"layers": {"head:input": "head:input"}},
    "review": {"layers": {"stages.1": "stages.1", "stages.2": "stages.2"}},
    "rkd": {"layers": {"head:input": "head:input"}},
    "similarity": LAST_MAP,
    "simkd": {},
    "taid": {},
}
EXPECTED_ELSEWHERE = {
    "attention-map",
    "cwd",
    "embedding",
    "heat-map",
    "hidden",
    "ld",
    "pkd",
    "relation",
}
DATA = Data(name="blobs")
# AdamW takes steps of one size whatever a method's default weight is.
FEW_STEPS = Training(epochs=4, batch=32, optimizer="adamw", learning_rate=0.01, precision="float32")


@pytest.fixture(scope="module")
def data():
    return blobs(96)


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    network = resnet(width=8)
    folder = tmp_path_factory.mktemp("teacher")
    train(network, data, DATA, FEW_STEPS, LabelLoss(), folder, seed=0, key="teacher", reporter=SILENT)
    return network


def resnet(width):
    return build_model(Model(model="resnet", options={"depth": 8, "width": width}), 3, (1, 8, 8), seed=width)


def test_no_method_is_left_out():
    missing = set(names("edgekd.distillation")) - TABLE.keys() - EXPECTED_ELSEWHERE
    assert not missing, (
        f"{sorted(missing)}: add each one's parameters to TABLE, or train it on tokens or maps elsewhere"
    )


@pytest.mark.parametrize("name", TABLE)
def test_its_own_term_falls_when_it_alone_is_trained(name, data, teacher, tmp_path):
    methods = load_methods([{"method": name, **TABLE[name]}])
    student = resnet(width=4)
    source = Teacher(teacher, teacher_taps(methods))
    objective = Distill(student, source, methods, cross_entropy=0.0)
    trained = train(student, data, DATA, FEW_STEPS, objective, tmp_path, seed=0, key=name, reporter=SILENT)
    terms = [record["terms"][type(methods[0]).__name__.lower()] for record in trained.history]
    assert all(math.isfinite(record["loss"]) for record in trained.history)
    assert all(map(math.isfinite, terms))
    # Means of epochs of three steps; the first already holds two that learned.
    assert terms[-1] < 0.8 * terms[0]
