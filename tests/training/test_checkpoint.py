"""Checkpoints and weights on disk."""

import re

import pytest
import torch
from torch import nn

from edgekd.errors import DamagedError
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


def test_digest_follows_values_and_structure():
    linear = nn.Linear(2, 2)
    digests = {weights_digest(linear), weights_digest(nn.Sequential(linear))}
    with torch.no_grad():
        linear.bias[0] += 1e-6
    assert len(digests | {weights_digest(linear)}) == 3
