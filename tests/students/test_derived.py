"""Students derived from their teachers: what is dropped, what is inherited, and what is refused."""

import copy
import sys

import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError, MissingExtraError
from edgekd.quantization.qat import export_float
from edgekd.recipe import Model
from edgekd.students import build_model, count
from edgekd.students.derived import (
    factorise_embedding,
    keep_layers,
    prune,
    trim_positions,
    trim_vocabulary,
    vocabulary_map,
)
from tests.students.bert import teacher

WORDS = "embeddings.word_embeddings"
TOKENS = torch.tensor([[1, 7, 49, 3, 0, 0], [9, 9, 2, 0, 0, 0]])


def derive(model, shape=(6,), **options):
    return build_model(Model(model="derived", options=options), 3, shape, teacher=model)


def family(name, **options):
    return build_model(Model(model=name, options=options), 10, (3, 32, 32)).eval()


def test_kept_layers_inherit_the_teachers_weights_and_leave_it_alone():
    model = teacher()
    before = copy.deepcopy(model.state_dict())
    student = keep_layers(model, "encoder.layer", [1, 4])
    layers = student.encoder["layer"]
    assert isinstance(layers, nn.ModuleList)
    assert len(layers) == 2
    for place, source in enumerate((1, 4)):
        for own, theirs in zip(layers[place].parameters(), model.encoder["layer"][source].parameters(), strict=True):
            assert torch.equal(own, theirs)
            assert own.data_ptr() != theirs.data_ptr()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_keeping_every_layer_changes_nothing():
    model = teacher()
    assert torch.equal(keep_layers(model, "encoder.layer", range(6))(TOKENS), model(TOKENS))


def test_a_stage_of_a_resnet_loses_its_later_blocks():
    model = family("resnet", depth=20)
    student = derive(model, (3, 32, 32), keep={"stages.1": [0]})
    assert [len(stage) for stage in student.stages] == [3, 1, 3]
    # Two blocks of two 3×3 convolutions of 32 channels on 16×16, each with batch norm's γ and β.
    (whole, whole_macs), (kept, kept_macs) = count(model, (3, 32, 32)), count(student, (3, 32, 32))
    assert whole - kept == 2 * 2 * (32 * 32 * 9 + 2 * 32)
    assert whole_macs - kept_macs == 2 * 2 * 32 * 32 * 9 * 16 * 16


def test_named_children_keep_their_names():
    model = nn.Sequential()
    for name in ("first", "second", "third"):
        model.add_module(name, nn.Linear(2, 2))
    assert [name for name, _ in keep_layers(model, "", [0, 2]).named_children()] == ["first", "third"]


def test_factorising_at_full_rank_changes_nothing_but_the_form():
    model = teacher()
    student = factorise_embedding(model, WORDS, 8)
    # The decomposition is made in float64 and rounded once; two float32 products of 8 terms remain.
    torch.testing.assert_close(student(TOKENS), model(TOKENS), rtol=1e-5, atol=1e-6)
    assert {name for name in student.state_dict() if name.startswith(WORDS)} == {
        f"{WORDS}.0.weight",
        f"{WORDS}.1.weight",
    }


def test_a_low_rank_is_the_nearest_one_and_keeps_padding():
    model = teacher()
    codes, projection = factorise_embedding(model, WORDS, 3).get_submodule(WORDS)
    assert codes.padding_idx == 0
    assert not codes.weight[0].any()
    table = model.get_submodule(WORDS).weight.double()
    error = (codes.weight.double() @ projection.weight.double().T - table).norm()
    # Eckart and Young: no product of rank 3 is nearer than what the other eigenvalues of EᵀE hold.
    torch.testing.assert_close(error.square(), torch.linalg.eigvalsh(table.T @ table)[:-3].sum(), rtol=1e-5, atol=0)
    identity = projection.weight.T @ projection.weight
    torch.testing.assert_close(identity, torch.eye(3), rtol=0, atol=1e-6)  # float32 rounding of unit vectors


def test_a_trimmed_vocabulary_reads_what_it_kept_alike_and_the_rest_as_unknown():
    model = teacher()
    student = trim_vocabulary(model, WORDS, [0, 1, 3, 7, 9, 20], unknown=20)
    kept = torch.tensor([[1, 7, 9, 3, 0, 0]])
    assert torch.equal(student(kept), model(kept))
    assert torch.equal(student(torch.tensor([[1, 48, 2]])), model(torch.tensor([[1, 20, 20]])))
    assert student.get_submodule(WORDS)[1].padding_idx == 0
    assert vocabulary_map([0, 1, 3, 7, 9, 20], 10 + 11, 20).tolist()[:10] == [0, 1, 5, 2, 5, 5, 5, 3, 5, 4]


def test_a_number_keeps_the_first_tokens():
    student = trim_vocabulary(teacher(), WORDS, 10, unknown=4)
    assert student.get_submodule(WORDS)[1].num_embeddings == 10


def test_fewer_positions_read_short_texts_alike():
    model = teacher()
    student = trim_positions(model, "embeddings.position_embeddings", 6)
    assert torch.equal(student(TOKENS), model(TOKENS))
    with pytest.raises(IndexError):
        student(torch.ones(1, 7, dtype=torch.int64))


def test_all_changes_together_give_the_size_that_arithmetic_gives():
    model = teacher()
    student = derive(
        model,
        keep={"encoder.layer": [1, 4]},
        vocabulary={WORDS: 20},
        unknown_token=2,
        positions={"embeddings.position_embeddings": 6},
        embedding_rank={WORDS: 4},
        prune={"encoder.layer.*.intermediate.dense": 0.5},
    )
    layer = 8 * 16 + 16 + 16 * 8 + 8 + 2 * 8
    assert count(student, (6,)) == (
        20 * 4 + 4 * 8 + 6 * 8 + 2 * layer + 3 * 8 + 3,
        6 * (4 * 8 + 2 * 2 * 8 * 16) + 8 * 3,
    )
    assert student(TOKENS).shape == (2, 3)
    assert student.training
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_tokens_cost_no_multiplications():
    model = teacher(layers=1)
    parameters = 50 * 8 + 16 * 8 + 8 * 32 + 32 + 32 * 8 + 8 + 2 * 8 + 3 * 8 + 3
    assert count(model, (6,)) == count(model, (6,), torch.int64) == (parameters, 6 * 2 * 8 * 32 + 8 * 3)


def test_a_mobilenet_at_half_width_still_answers_and_exports():
    model = family("mobilenet", width=0.5)
    student = derive(model, (3, 32, 32), prune=0.5)
    (whole, whole_macs), (half, half_macs) = count(model, (3, 32, 32)), count(student, (3, 32, 32))
    # Halved on both sides, a pointwise convolution keeps a quarter; depthwise ones and the classifier keep a half.
    assert 0.25 < half / whole < 0.35
    assert 0.25 < half_macs / whole_macs < 0.35
    images = torch.randn(2, 3, 32, 32)
    assert student(images).shape == (2, 10)
    assert student.head[2].out_features == 10
    assert export_float(student.eval(), images).graph.output


def test_pruning_keeps_the_largest_channels():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[1:3] *= 1e-3
        model[0].bias[1:3] *= 1e-3
        model[2].weight[:, 1:3] *= 1e-3
    student = prune(model, torch.zeros(1, 3), 0.5)
    assert torch.equal(student[0].weight, model[0].weight[[0, 3]])
    assert torch.equal(student[2].weight, model[2].weight[:, [0, 3]])
    assert torch.equal(student[2].bias, model[2].bias)


def test_without_torch_pruning_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingExtraError, match=r"edgekd\[prune\]"):
        prune(teacher(), TOKENS, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": {"encoder.layers": [1]}}, "names no ModuleList or Sequential; did you mean 'encoder.layer'"),
        ({"keep": {"head": [0]}}, "'head' is a Linear, not ModuleList or Sequential"),
        ({"keep": {"encoder.layer": [1, 6]}}, "'encoder.layer' has 6 layers, 0…5: there is no layer 6"),
        ({"keep": {"encoder.layer": [4, 1]}}, "must ascend"),
        ({"keep": {"encoder.layer": []}}, "must ascend"),
        ({"keep": [1, 4]}, "model 'derived': keep: "),
        ({"embedding_rank": {"embeddings.word_embedding": 4}}, "did you mean 'embeddings.word_embeddings'"),
        ({"embedding_rank": {WORDS: 9}}, "rank 9 of 'embeddings.word_embeddings': an embedding of 50×8 has ranks 1…8"),
        ({"embedding_rank": {WORDS: 0}}, "model 'derived': embedding_rank.embeddings.word_embeddings"),
        ({"vocabulary": {WORDS: 51}}, "within 0…49"),
        ({"vocabulary": {WORDS: [0, 5]}, "unknown_token": 4}, "the unknown token 4 must be among"),
        ({"vocabulary": {WORDS: [4, 5]}, "unknown_token": 4}, "the padding token 0 must be kept"),
        ({"positions": {"embeddings.position_embeddings": 17}}, "17 is not within 1…16"),
        ({"positions": {"embeddings.position_embeddings": 5}}, "after positions 'embeddings.position_embeddings' 5"),
        ({"prune": 1.0}, "model 'derived': prune"),
        ({"prune": {"encoder.*.dense": 0.5}}, "'encoder.\\*.dense' names no convolution or linear layer"),
        ({"kept": {}}, "unknown option 'kept'; did you mean 'keep'"),
    ],
)  # fmt: skip
def test_what_cannot_be_derived_is_one_clear_line(options, message):
    with pytest.raises(BadInputError, match=message) as caught:
        derive(teacher(), **options)
    assert "\n" not in str(caught.value)


def test_layers_that_no_longer_fit_name_the_change():
    with pytest.raises(
        BadInputError, match=r"after keep 'stages' \[0, 2\] the layers no longer fit together"
    ) as caught:
        derive(family("resnet"), (3, 32, 32), keep={"stages.1": [0], "stages": [0, 2]})
    assert "\n" not in str(caught.value)


def test_there_is_nothing_to_derive_without_a_teacher():
    with pytest.raises(BadInputError, match="needs a teacher"):
        derive(None)
