"""The teacher's answers: once per distinct input, and the same as on the spot."""

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.bundle import Preprocessing
from edgekd.data import Dataset, Split
from edgekd.distillation.hint import Hint
from edgekd.distillation.kd import KD
from edgekd.errors import BadInputError
from edgekd.progress import SILENT, Reporter
from edgekd.recipe import Cache, Data, load_recipe
from edgekd.tasks.sentence_pairs import SentencePairs
from edgekd.training import CachedTeacher, Distill, Teacher
from edgekd.training.batches import Batches
from edgekd.training.precision import runner

CPU = torch.device("cpu")
TAPS = ("0.2",)


class Counting(nn.Module):
    """Counts the samples that pass through a network in batches; stops, as Ctrl-C would, after `limit`."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.seen, self.limit = nn.Sequential(inner), 0, None

    def forward(self, x):
        self.seen += len(x) if len(x) > 1 else 0  # to learn shapes, one sample is looked at
        if self.limit and self.seen > self.limit:
            raise KeyboardInterrupt
        return self.inner(x)


@pytest.fixture
def teacher(network):
    return Counting(network(width=6, seed=1))


def cached(teacher, folder):
    return CachedTeacher(Teacher(teacher, ("inner.0.2",), "float32"), folder, SILENT)


def batches(data, recipe, size=32):
    return Batches(data, recipe, size, 5, CPU)


def test_runs_the_teacher_once_per_distinct_input(tmp_path, blobs, recipe_data, teacher):
    data = blobs()
    for _ in range(2):
        source = cached(teacher, tmp_path)
        source.prepare(batches(data, recipe_data), range(2))
        for epoch in range(4):
            for batch in batches(data, recipe_data).epoch(epoch, 0):
                source.outputs(batch)
    assert teacher.seen == 2 * len(data.train)


def test_without_augmentation_every_view_is_the_same(tmp_path, blobs, teacher):
    data, plain = blobs(), Data(name="blobs", views=4)
    source = cached(teacher, tmp_path)
    source.prepare(batches(data, plain), range(4))
    source.outputs(batches(data, plain).at(np.arange(4), 3))
    assert teacher.seen == len(data.train)


@pytest.mark.parametrize("change", ["weights", "data", "augmentation", "seed", "taps"])
def test_asks_again_when_what_decides_the_answers_changes(tmp_path, blobs, recipe_data, teacher, change):
    data = blobs()
    cached(teacher, tmp_path).prepare(batches(data, recipe_data), [0])
    source, now = cached(teacher, tmp_path), batches(data, recipe_data)
    if change == "weights":
        with torch.no_grad():
            teacher.inner[0][0].bias += 1
    if change == "data":
        now = batches(blobs(seed=1), recipe_data)
    if change == "augmentation":
        now = batches(data, Data(name="blobs", augmentation=("flip",)))
    if change == "seed":
        now = Batches(data, recipe_data, 32, 6, CPU)
    if change == "taps":
        source = CachedTeacher(Teacher(teacher, (), "float32"), tmp_path, SILENT)
    source.prepare(now, [0])
    assert teacher.seen == 2 * len(data.train)


def test_continues_where_it_was_interrupted(tmp_path, blobs, recipe_data, teacher):
    data, teacher.limit = blobs(samples=1500), 1200
    with pytest.raises(KeyboardInterrupt):
        cached(teacher, tmp_path).prepare(batches(data, recipe_data), [0])
    asked, teacher.limit = teacher.seen, None
    source = cached(teacher, tmp_path)
    source.prepare(batches(data, recipe_data), [0])
    assert teacher.seen - asked == 1500 - 1024  # four whole chunks were kept
    fresh = cached(teacher, tmp_path / "fresh")
    fresh.prepare(batches(data, recipe_data), [0])
    everything = batches(data, recipe_data).at(np.arange(1500), 0)
    for name in ("logits", "features"):
        assert str(getattr(source.outputs(everything), name)) == str(getattr(fresh.outputs(everything), name))
    assert torch.equal(source.outputs(everything).logits, fresh.outputs(everything).logits)


def test_gives_the_loss_that_the_teacher_on_the_spot_gives(tmp_path, blobs, recipe_data, teacher, network):
    data, student = blobs(), network()
    losses = []
    for source in (Teacher(teacher, ("inner.0.2",), "float32"), cached(teacher, tmp_path)):
        objective = Distill(student, source, [KD(weight=0.9), Hint({"2": "inner.0.2"})], seed=3)
        objective.build(batches(data, recipe_data))
        objective.prepare(batches(data, recipe_data), range(2))
        batch = batches(data, recipe_data).at(np.array([5, 3, 190]), 1)
        torch.manual_seed(0)
        losses.append(objective(runner(student, "float32", CPU), batch, 0, 10))
    (online, online_terms), (stored, stored_terms) = losses
    # Logits are stored in float32: equal but for the order of sums; features in float16: 11 bits.
    assert stored_terms["kd"].item() == pytest.approx(online_terms["kd"].item(), rel=1e-4)
    assert stored_terms["hint"].item() == pytest.approx(online_terms["hint"].item(), rel=1e-3)
    assert stored.item() == pytest.approx(online.item(), rel=1e-3)


def test_features_beyond_float16_are_clipped_not_infinite(tmp_path, blobs, recipe_data, teacher):
    with torch.no_grad():
        teacher.inner[0][1].weight *= 1e7
    source = cached(teacher, tmp_path)
    source.prepare(batches(blobs(), recipe_data), [0])
    feature = source.outputs(batches(blobs(), recipe_data).at(np.arange(8), 0)).features["inner.0.2"]
    assert feature.max() == 65504


def test_a_recipe_says_how_answers_are_kept():
    assert load_recipe("quickstart").cache == Cache()
    recipe = load_recipe("quickstart", ["cache.top_k=5", "cache.logits=float16", "cache.limit_gb=2"])
    assert recipe.cache == Cache(top_k=5, logits="float16", limit_gb=2.0)
    with pytest.raises(BadInputError, match=r"cache\.top_k: Input should be greater than 0"):
        load_recipe("quickstart", ["cache.top_k=0"])


def test_says_what_the_answers_will_take_before_it_asks(tmp_path, blobs, recipe_data, teacher, capsys):
    data = blobs()
    for _ in range(2):
        source = CachedTeacher(Teacher(teacher, (), "float32"), tmp_path, Reporter())
        source.prepare(batches(data, recipe_data), range(2))
    said = "".join(capsys.readouterr().err.split("\n"))  # the console folds long lines
    assert said.count("teacher's answers: 192 samples × 2 views, 4.6 kB in") == 1  # 192 · 2 · 3 logits · 4 bytes


def test_above_its_limit_the_teacher_answers_live(tmp_path, blobs, recipe_data, teacher, capsys):
    settings = Cache(limit_gb=3e-6)
    source = CachedTeacher(Teacher(teacher, ("inner.0.2",), "float32"), tmp_path, Reporter(), settings)
    source.prepare(batches(blobs(), recipe_data), range(2))
    assert "answers live, at every step: 299.5 kB would exceed" in capsys.readouterr().err
    batch = batches(blobs(), recipe_data).at(np.arange(32), 1)
    assert torch.equal(source.outputs(batch).logits, teacher(batch.inputs))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def sentences():
    random = np.random.default_rng(0)
    tokens = random.integers(1, 20, (300, 12)) * (np.arange(12) < random.integers(1, 13, 300)[:, None])
    split = Split(tokens, np.arange(300) % 3)
    return Dataset("sentences", split, split, split, ("a", "b", "c"), Preprocessing())


class Bag(nn.Module):
    """Mean of the embeddings of tokens that are not padding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(20, 8, padding_idx=0), nn.Linear(8, 3)

    def forward(self, tokens):
        return self.head(self.embedding(tokens).sum(1) / (tokens != 0).sum(1, keepdim=True))


def test_logits_of_tokens_are_stored_and_found_again(tmp_path, sentences):
    teacher, plain = Counting(Bag()), Data(name="sentences")
    source = CachedTeacher(Teacher(teacher, (), "float32"), tmp_path, SILENT)
    source.prepare(batches(sentences, plain), range(2))
    assert teacher.seen == 300
    for batch in batches(sentences, plain).epoch(1, 0):
        # Rounding alone: padding changes the order of sums.
        torch.testing.assert_close(source.outputs(batch).logits, teacher(batch.inputs), rtol=1e-5, atol=1e-6)


def test_features_of_tokens_are_live_and_as_long_as_their_batch(tmp_path, sentences):
    teacher, plain = Bag(), Data(name="sentences")
    source = CachedTeacher(Teacher(teacher, ("embedding",), "float32"), tmp_path, SILENT)
    source.prepare(batches(sentences, plain), range(2))
    for batch in batches(sentences, plain).epoch(0, 0):
        output = source.outputs(batch)
        assert torch.equal(output.features["embedding"], teacher.embedding(batch.inputs))
        assert torch.equal(output.logits, teacher(batch.inputs))
    assert not list(tmp_path.iterdir())


def test_top_logits_are_what_is_stored(tmp_path, blobs, recipe_data, teacher):
    sources = [CachedTeacher(Teacher(teacher, (), "float32"), tmp_path, SILENT, Cache(top_k=k)) for k in (None, 1)]
    for source in sources:
        source.prepare(batches(blobs(), recipe_data), [1])
    whole, sparse = (source.outputs(batches(blobs(), recipe_data).at(np.arange(20), 1)).logits for source in sources)
    top = whole.argmax(1, keepdim=True)
    torch.testing.assert_close(sparse.softmax(1).gather(1, top), whole.softmax(1).gather(1, top))
    low = sparse.scatter(1, top, -torch.inf).topk(2).values
    assert torch.equal(low[:, 0], low[:, 1])


def test_top_logits_of_embeddings_are_one_clear_line(tmp_path, sentences):
    pairs = dataclasses.replace(sentences, classes=(), task=SentencePairs())
    source = CachedTeacher(Teacher(Bag(), (), "float32"), tmp_path, SILENT, Cache(top_k=2))
    with pytest.raises(BadInputError, match="cache.top_k: without classes"):
        source.prepare(batches(pairs, Data(name="sentences")), [0])


def test_of_two_processes_one_asks_and_the_other_waits(tmp_path, blobs, recipe_data, teacher):
    """Each has a teacher of its own, as processes do: what taps see of one must not reach the other."""
    data, teachers = blobs(samples=1500), (teacher, copy.deepcopy(teacher))
    sources = [cached(each, tmp_path) for each in teachers]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda source: source.prepare(batches(data, recipe_data), [0]), sources))
    assert sorted(each.seen for each in teachers) == [0, 1500]


@pytest.mark.parametrize("name", ["logits.npy", "done.json"])
def test_a_bit_that_flipped_in_a_cache_has_its_teacher_asked_again(tmp_path, capsys, blobs, recipe_data, teacher, name):
    cached(teacher, tmp_path).prepare(batches(blobs(), recipe_data), [0])
    (path,) = tmp_path.glob(f"*/view-0/{name}")
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    source = CachedTeacher(Teacher(teacher, ("inner.0.2",), "float32"), tmp_path, Reporter())
    source.prepare(batches(blobs(), recipe_data), [0])
    assert f"{path} is damaged: the teacher is asked again" in capsys.readouterr().err
    assert path.read_bytes() == whole
