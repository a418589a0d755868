"""Checkpoints and weights on disk."""

import re
import zipfile

import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError, DamagedError
from edgekd.training.checkpoint import Position, load_checkpoint, save_checkpoint
from edgekd.training.weights import load_weights, save_tensors, weights_digest

POSITION = Position(step=7, best=0.5, seconds=1.5, sums={"loss": 0.1 + 0.2}, history=[{"epoch": 1}])
TENSORS = {
    "a": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last),
    "b": torch.arange(3),
    "c": torch.tensor(1.0),
    "d": torch.zeros(0),
}


def test_comes_back_exactly(tmp_path):
    save_checkpoint(tmp_path, "key", POSITION, TENSORS)
    position, tensors = load_checkpoint(tmp_path, "key")
    assert position == POSITION
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_another_key_or_an_empty_folder_is_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path, "key") is None
    save_checkpoint(tmp_path, "key", POSITION, TENSORS)
    assert load_checkpoint(tmp_path, "another") is None


def test_the_next_one_replaces_it_with_its_leftovers(tmp_path):
    save_checkpoint(tmp_path, "key", POSITION, TENSORS)
    (tmp_path / ".checkpoint.8.safetensors.killed.safetensors").write_bytes(b"half")
    save_checkpoint(tmp_path, "key", Position(step=8), TENSORS)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.json", "checkpoint.8.safetensors"}


def test_a_kill_before_the_commit_leaves_the_one_before(tmp_path):
    save_checkpoint(tmp_path, "key", POSITION, TENSORS)
    save_tensors({"a": torch.zeros(1)}, tmp_path / "checkpoint.8.safetensors")
    position, _ = load_checkpoint(tmp_path, "key")
    assert position.step == 7


@pytest.mark.parametrize("name", ["checkpoint.json", "checkpoint.7.safetensors"])
@pytest.mark.parametrize("damage", ["first bit", "middle bit", "last bit", "cut", "empty"])
def test_damage_is_found_and_named(tmp_path, name, damage):
    save_checkpoint(tmp_path, "key", POSITION, TENSORS)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    size = len(content)
    if damage.endswith("bit"):
        content[{"first bit": 0, "middle bit": size // 2, "last bit": size - 3}[damage]] ^= 1
    path.write_bytes(content[: {"cut": size // 2, "empty": 0}.get(damage, size)])
    with pytest.raises(DamagedError, match=f"{re.escape(name)} is damaged"):
        load_checkpoint(tmp_path, "key")


def test_tensors_that_are_gone_are_named(tmp_path):
    save_checkpoint(tmp_path, "key", POSITION, TENSORS)
    (tmp_path / "checkpoint.7.safetensors").unlink()
    with pytest.raises(DamagedError, match=r"checkpoint\.7\.safetensors is damaged"):
        load_checkpoint(tmp_path, "key")


def test_weights_of_tied_layers(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_tensors(model.state_dict(), tmp_path / "w.safetensors")
    other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(other[1].weight, model[0].weight)
    assert weights_digest(other) == weights_digest(model)


def test_weights_that_torch_saved_are_read_but_code_is_not_run(tmp_path):
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    load_weights(other, tmp_path / "w.pt")
    assert torch.equal(other.weight, model.weight)
    torch.save(model, tmp_path / "code.pt")
    with pytest.raises(BadInputError, match="holds no state dict"):
        load_weights(other, tmp_path / "code.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:100])
    with pytest.raises(BadInputError, match="is damaged"):
        load_weights(other, tmp_path / "cut.pt")


def test_a_pickle_of_nothing_is_no_state_dict(tmp_path):
    """Found by fuzzing: torch's unpickler raised an IndexError; and a list is taken apart by `dict`."""
    torch.save({}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as archive, zipfile.ZipFile(tmp_path / "empty.pt", "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, b"\x80\x02." if name.endswith("data.pkl") else archive.read(name))
    torch.save([("weight", 1)], tmp_path / "list.pt")
    for name in ("empty.pt", "list.pt"):
        with pytest.raises(BadInputError, match="holds no state dict"):
            load_weights(nn.Linear(2, 2), tmp_path / name)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.zeros(2, 2)}, "no weights for 'bias'"),
        ({"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "extra": torch.zeros(1)}, "the model has no 'extra'"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, r"'weight' is \(2, 3\), the model's \(2, 2\)"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path, tensors, message):
    save_tensors(tensors, tmp_path / "w.safetensors")
    with pytest.raises(BadInputError, match=message):
        load_weights(nn.Linear(2, 2), tmp_path / "w.safetensors")


def test_digest_follows_values_and_structure():
    linear = nn.Linear(2, 2)
    digests = {weights_digest(linear), weights_digest(nn.Sequential(linear))}
    with torch.no_grad():
        linear.bias[0] += 1e-6
    assert len(digests | {weights_digest(linear)}) == 3
