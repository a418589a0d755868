"""Checkpoints as people have them are loaded, or one line names what is in the way."""

import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from edgekd.errors import BadInputError
from edgekd.training.weights import load_weights, save_tensors


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 4))


def under(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


FORMS = {
    "plain": lambda s: s,
    "DataParallel": lambda s: under("module.", s),
    "torch.compile": lambda s: under("_orig_mod.", s),
    "compiled under DataParallel": lambda s: under("module._orig_mod.", s),
    "one compiled layer": lambda s: {name.replace("3.", "3._orig_mod."): value for name, value in s.items()},
    "nested": lambda s: {"state_dict": s, "epoch": 3, "best": 0.9},
    "with optimiser": lambda s: {"model": s, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}},
    "Lightning": lambda s: {
        "state_dict": under("model.", s) | {"loss.weight": torch.ones(4)},
        "hyper_parameters": {"lr": 0.1},
        "optimizer_states": [{}],
    },
    "twice nested": lambda s: {"checkpoint": {"net": OrderedDict(s)}, "loss": torch.tensor(0.1)},
    "old torch": lambda s: {name: value for name, value in s.items() if "num_batches" not in name},
    "half precision": lambda s: {name: value.half() for name, value in s.items()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["w.pth", "pytorch_model.bin"])
def test_wrapped_prefixed_and_nested_weights_are_loaded(tmp_path, form, name):
    torch.manual_seed(0)
    model, other = network(), network()
    torch.save(FORMS[form](model.state_dict()), tmp_path / name)
    load_weights(other, tmp_path / name)
    for ours, theirs in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs.half().float() if form == "half precision" else theirs)


@pytest.mark.parametrize("name", ["w.ckpt", "w.pth.tar", "weights", "w.safetensors"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_what_a_file_is_is_told_by_its_content(tmp_path, name, kind):
    model, other = network(), network()
    if kind == "safetensors":
        save_tensors(under("module.", model.state_dict()), tmp_path / name)
    else:
        torch.save({"state_dict": model.state_dict()}, tmp_path / name, _use_new_zipfile_serialization=kind == "zip")
    load_weights(other, tmp_path / name)
    assert all(map(torch.equal, other.parameters(), model.parameters()))


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_a_wrapped_model_takes_plain_weights(tmp_path, wrap):
    model, other = network(), network()
    save_tensors(model.state_dict(), tmp_path / "w.safetensors")
    load_weights(wrap(other), tmp_path / "w.safetensors")
    assert all(map(torch.equal, other.parameters(), model.parameters()))


def test_a_saved_network_of_torchs_own_layers_is_read(tmp_path):
    model, other = network(), network()
    torch.save(model, tmp_path / "whole.pth")
    load_weights(other, tmp_path / "whole.pth")
    assert all(map(torch.equal, other.parameters(), model.parameters()))


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class Own(nn.Linear):
    """A user's class: only its own module can open it."""


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("make", [Evil, lambda _: Own(2, 2)])
def test_what_needs_code_is_refused_with_how_to_convert_it(tmp_path, make, legacy):
    path = tmp_path / "w.pth"
    torch.save(
        {"state_dict": nn.Linear(2, 2).state_dict(), "more": make(tmp_path / "ran")},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(BadInputError, match="which only code could open; convert it .*safetensors") as caught:
        load_weights(nn.Linear(2, 2), path)
    assert "\n" not in str(caught.value)
    assert legacy or "test_weights.Own" in str(caught.value) or "open" in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_file_is_one_line(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:100])
    (tmp_path / "text.pt").write_text("<html>not found</html>")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("cut.pt", "text.pt", "empty.pt"):
        with pytest.raises(BadInputError, match="is damaged") as caught:
            load_weights(nn.Linear(2, 2), tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_pickle_of_nothing_is_no_state_dict(tmp_path):
    """Found by fuzzing: torch's unpickler raised an IndexError; and a list is taken apart by `dict`."""
    torch.save({}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as archive, zipfile.ZipFile(tmp_path / "empty.pt", "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, b"\x80\x02." if name.endswith("data.pkl") else archive.read(name))
    torch.save([("weight", 1)], tmp_path / "list.pt")
    for name in ("empty.pt", "list.pt", "w.pt"):
        with pytest.raises(BadInputError, match="holds no state dict"):
            load_weights(nn.Linear(2, 2), tmp_path / name)


WEIGHT, BIAS = {"weight": torch.zeros(2, 2)}, {"bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (WEIGHT, "no weights for 'bias'"),
        ({"weight": torch.zeros(2, 2), "biases": torch.zeros(2)}, "no weights for 'bias'; did you mean 'biases'"),
        (WEIGHT | BIAS | {"extra": torch.zeros(1)}, "the model has no 'extra'"),
        ({"weight": torch.zeros(2, 3)} | BIAS, r"'weight' is \(2, 3\), the model's \(2, 2\)"),
        (under("net.head.", WEIGHT), r" under 'net\.head\.': no weights for 'bias'"),
        ({"model": under("net.", WEIGHT | BIAS | {"extra": torch.zeros(1)})},
         r" in 'model' under 'net\.': the model has no 'extra'"),
        ({"model": WEIGHT | BIAS, "ema": WEIGHT | BIAS}, "the weights under 'ema' and 'model' fit alike"),
    ],
)  # fmt: skip
def test_weights_of_another_model_are_refused(tmp_path, tensors, message):
    torch.save(tensors, tmp_path / "w.pt")
    with pytest.raises(BadInputError, match=message):
        load_weights(nn.Linear(2, 2), tmp_path / "w.pt")
