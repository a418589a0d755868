"""The training loop on networks small enough to learn in seconds."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.data import as_dataset
from edgekd.distillation.hint import Hint
from edgekd.distillation.kd import KD
from edgekd.errors import BadInputError, PromiseBrokenError
from edgekd.progress import SILENT, Reporter
from edgekd.recipe import Data, Model, Training
from edgekd.students import build_model
from edgekd.training import CachedTeacher, Distill, LabelLoss, Teacher, evaluate, teacher_taps, train
from edgekd.training.batches import Batches
from edgekd.training.checkpoint import load_checkpoint
from edgekd.training.weights import read_tensors

FAST = Training(epochs=3, batch=32, learning_rate=0.1, precision="float32")


def learn(model, data, recipe_data, folder, settings=FAST, objective=None, key="key", reporter=SILENT, **more):
    objective = objective or LabelLoss()
    return train(model, data, recipe_data, settings, objective, folder, seed=1, key=key, reporter=reporter, **more)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_learns_far_above_chance(tmp_path, blobs, network, recipe_data, precision):
    data, model = blobs(384), network()
    settings = Training(epochs=6, batch=32, learning_rate=0.1, precision=precision)
    trained = learn(model, data, recipe_data, tmp_path, settings)
    assert trained.val_metric > 0.8
    assert evaluate(model, data, data.test) > 0.8  # chance is 1/3
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_a_student_learns_from_its_teacher_alone(tmp_path, blobs, network, recipe_data):
    data, teacher, student = blobs(384), network(8), network(4, seed=2)
    settings = Training(epochs=6, batch=32, precision="float32")
    learn(teacher, data, recipe_data, tmp_path / "teacher", settings)
    methods = [KD(weight=1.0), Hint({"3": "3"}, weight=0.1)]
    source = CachedTeacher(Teacher(teacher, teacher_taps(methods)), tmp_path / "cache", SILENT)
    objective = Distill(student, source, methods, cross_entropy=0.0)
    trained = learn(student, data, recipe_data, tmp_path / "student", settings, objective)
    assert evaluate(student, data, data.test) > 0.8
    assert trained.history[0]["terms"].keys() == {"cross_entropy", "kd", "hint"}


def test_the_history_is_complete(tmp_path, blobs, network, recipe_data):
    events = tmp_path / "events.jsonl"
    trained = learn(network(), blobs(), recipe_data, tmp_path / "run", reporter=Reporter(events, quiet=True))
    assert [record["epoch"] for record in trained.history] == [1, 2, 3]
    for record in trained.history:
        assert record.keys() == {"epoch", "loss", "terms", "val", "learning_rate"}
        assert record["loss"] == record["terms"]["cross_entropy"]
    assert json.loads((tmp_path / "run" / "history.json").read_text()) == list(trained.history)
    assert [json.loads(line)["event"] for line in events.read_text().splitlines()] == ["epoch"] * 3
    assert trained.seconds > 0


def test_the_model_ends_with_the_weights_that_validated_best(tmp_path, blobs, network, recipe_data):
    def spoil(model, fraction):
        if fraction >= 0.5:
            nn.init.zeros_(model[6].weight)

    data, model = blobs(), network()
    settings = Training(epochs=4, batch=32, learning_rate=0.1, precision="float32")
    trained = learn(model, data, recipe_data, tmp_path, settings, on_progress=spoil)
    values = [record["val"] for record in trained.history]
    assert trained.val_metric == max(values) == evaluate(model, data, data.val) > values[-1]
    saved = read_tensors(tmp_path / "best.safetensors")
    assert all(torch.equal(saved[name], value.cpu()) for name, value in model.state_dict().items())


def test_the_same_inputs_give_the_same_weights_and_a_finished_run_is_not_repeated(
    tmp_path, blobs, network, recipe_data
):
    first, second, third = network(), network(), network(seed=9)
    once = learn(first, blobs(), recipe_data, tmp_path / "a")
    learn(second, blobs(), recipe_data, tmp_path / "b")
    again = learn(third, blobs(), recipe_data, tmp_path / "a")
    assert once == again
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
        assert torch.equal(value, third.state_dict()[name])


def test_a_checkpoint_of_other_inputs_is_replaced(tmp_path, blobs, network, recipe_data):
    learn(network(), blobs(), recipe_data, tmp_path, key="old")
    trained = learn(network(), blobs(), recipe_data, tmp_path, Training(epochs=1, batch=32), key="new")
    assert len(trained.history) == 1
    assert load_checkpoint(tmp_path, "old") is None


def test_a_damaged_checkpoint_has_it_start_over(tmp_path, blobs, network, recipe_data):
    trained = learn(network(), blobs(), recipe_data, tmp_path)
    (path,) = tmp_path.glob("checkpoint.*.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    again = learn(network(), blobs(), recipe_data, tmp_path)
    assert again.history == trained.history  # the same numbers, bit by bit


def test_a_kill_after_the_last_checkpoint_leaves_curves_whole(tmp_path, blobs, network, recipe_data):
    trained = learn(network(), blobs(), recipe_data, tmp_path)
    (tmp_path / "history.json").unlink()
    (tmp_path / "best.safetensors").unlink()
    learn(network(), blobs(), recipe_data, tmp_path)
    assert json.loads((tmp_path / "history.json").read_text()) == list(trained.history)
    assert (tmp_path / "best.safetensors").is_file()


def test_what_an_earlier_training_left_stays_until_the_new_is_complete(tmp_path, blobs, network, recipe_data):
    learn(network(), blobs(), recipe_data, tmp_path, key="old")
    before = {name: (tmp_path / name).read_bytes() for name in ("history.json", "best.safetensors")}

    def interrupted(_model, fraction):
        if fraction > 0.6:  # the first epoch of the new one is over
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(network(), blobs(), recipe_data, tmp_path, key="new", on_progress=interrupted)
    assert (tmp_path / "checkpoint.json").is_file()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_nan_stops_it_and_the_last_good_checkpoint_stays(tmp_path, blobs, network, recipe_data):
    def poison(model, fraction):
        if fraction >= 0.5:
            nn.init.constant_(model[6].bias, math.nan)

    with pytest.raises(PromiseBrokenError, match=r"epoch 2, step 9: the term cross_entropy is nan; .*checkpoint\.json"):
        learn(network(), blobs(), recipe_data, tmp_path, on_progress=poison)
    position, tensors = load_checkpoint(tmp_path, "key")
    assert position.step == 6
    assert all(value.isfinite().all() for value in tensors.values())


@pytest.mark.parametrize(
    ("bad", "message"),
    [({"terms": {"one": 1.0, "kd": math.nan}}, "the term kd is nan"), ({"loss": math.inf}, "the loss is inf")],
)
def test_divergence_names_the_term(tmp_path, blobs, network, recipe_data, bad, message):
    class Spoiled(LabelLoss):
        def __call__(self, *arguments):
            loss, terms = super().__call__(*arguments)
            found = {name: torch.tensor(value) for name, value in bad.get("terms", {}).items()}
            return loss * bad.get("loss", sum(found.values(), torch.tensor(1.0))), terms | found

    with pytest.raises(PromiseBrokenError, match=rf"diverged in epoch 1, step 0: {message}; there is no checkpoint"):
        learn(network(), blobs(), recipe_data, tmp_path, objective=Spoiled())


def test_an_update_that_explodes_is_never_checkpointed(tmp_path, blobs, network, recipe_data):
    settings = Training(epochs=1, batch=192, learning_rate=1e38, momentum=0.0, warmup=0.0, precision="float32")
    model = network()
    with torch.no_grad():
        model[6].weight *= 1e3
    with pytest.raises(PromiseBrokenError, match=r"step 1: a weight is not finite; there is no checkpoint yet"):
        learn(model, blobs(), recipe_data, tmp_path, settings)


def test_the_average_is_what_is_kept(tmp_path, blobs, network, recipe_data):
    data, plain, averaged = blobs(), network(), network()
    learn(plain, data, recipe_data, tmp_path / "plain")
    settings = FAST.model_copy(update={"ema": 0.9})
    trained = learn(averaged, data, recipe_data, tmp_path / "ema", settings)
    assert not torch.equal(plain[0].weight, averaged[0].weight)
    assert trained.val_metric == evaluate(averaged, data, data.val)
    assert [r["loss"] for r in trained.history] == pytest.approx(
        [r["loss"] for r in learn(network(), data, recipe_data, tmp_path / "plain").history]
    )  # averaging looks on; it does not steer


def test_a_network_is_taught_through_taps_while_a_part_rests(tmp_path, blobs, recipe_data):
    data = blobs()
    teacher, student = (
        build_model(Model(model="resnet", options={"width": width}), 3, (1, 8, 8), seed=width) for width in (4, 2)
    )
    fractions, modes = [], set()

    def freeze(model, fraction):
        fractions.append(fraction)
        model.get_submodule("stem.1").eval()
        modes.add(model.get_submodule("stages.2.0.conv1.1").training)

    methods = [KD(), Hint({"stages.2": "stages.2"})]
    objective = Distill(student, Teacher(teacher, teacher_taps(methods)), methods)
    trained = learn(student, data, recipe_data, tmp_path, FAST, objective, on_progress=freeze)
    assert trained.history[-1]["terms"]["hint"] < trained.history[0]["terms"]["hint"]
    assert fractions == [step / 18 for step in range(18)]
    assert modes == {True}
    assert student.get_submodule("stem.1").num_batches_tracked == 0


def test_an_epoch_shows_every_sample_once_in_an_order_of_its_own(blobs, recipe_data):
    batches = Batches(blobs(), recipe_data, 32, 7, torch.device("cpu"))
    epochs = [torch.cat([batch.indices for batch in batches.epoch(epoch, 0)]) for epoch in range(3)]
    for order in epochs:
        assert sorted(order.tolist()) == list(range(192))
    assert not torch.equal(epochs[0], epochs[2])
    rest = torch.cat([batch.indices for batch in batches.epoch(1, 4)])
    assert torch.equal(rest, epochs[1][128:])
    assert [next(batches.epoch(epoch, 0)).view for epoch in range(4)] == [0, 1, 0, 1]


def test_the_longest_sentences_have_their_turn():
    tokens = np.tril(np.ones((24, 24), np.int64))  # of every length once
    data = as_dataset(((tokens, np.arange(24) % 2), (tokens, np.arange(24) % 2)))
    batches = Batches(data, Data(name="tokens"), 5, 0, torch.device("cpu"))
    seen = {index for epoch in range(12) for batch in batches.epoch(epoch, 0) for index in batch.indices.tolist()}
    assert seen == set(range(len(data.train)))  # chance leaves none out so often


def test_a_sample_looks_the_same_whenever_a_view_comes_round(blobs, recipe_data):
    batches = Batches(blobs(), recipe_data, 32, 7, torch.device("cpu"))
    seen = {}
    for epoch in (0, 2):
        for batch in batches.epoch(epoch, 0):
            for index, image in zip(batch.indices.tolist(), batch.inputs, strict=True):
                assert torch.equal(seen.setdefault(index, image), image)


def test_vectors_and_a_training_set_smaller_than_a_batch(tmp_path, blobs):
    data = blobs(20)
    flat = type(data)(
        "flat",
        *(
            type(s)(s.inputs.reshape(len(s), -1).astype(np.float32), s.labels)
            for s in (data.train, data.val, data.test)
        ),
        data.classes,
        data.preprocessing,
    )
    model = nn.Linear(64, 3)
    trained = learn(model, flat, Data(name="flat"), tmp_path, Training(epochs=2, batch=64))
    assert len(trained.history) == 2


def test_a_model_that_returns_no_logits_is_one_clear_line(tmp_path, blobs, recipe_data):
    class Silent(nn.Linear):
        def forward(self, x):
            return None

    with pytest.raises(BadInputError, match=r"puts out no tensor; Classification reads 'logits'"):
        learn(Silent(2, 2), blobs(), recipe_data, tmp_path)
