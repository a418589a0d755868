"""Weights on disk, and the hash that names them."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.files import sha256, write_bytes
from edgekd.plugins import nearest

PICKLED = {".pt", ".pth"}


def save_tensors(tensors: dict[str, Tensor], path: Path) -> str:
    """Write tensors to a safetensors file, atomically, and return its sha256."""
    own = {
        name: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    content = save(own)  # not to a file: a full disk would be an error of safetensors' own
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path, expected: str | None = None) -> dict[str, Tensor]:
    """Read a safetensors file, or a state dict that `torch.save` wrote (never running the code in it).

    Raises BadInputError when the file is absent, damaged, or not the `expected` sha256.
    """
    pickled = path.suffix in PICKLED
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    if expected is not None and sha256(path) != expected:
        raise BadInputError(f"{path} is damaged (its sha256 is not the recorded one): delete it to train again")
    try:
        found = dict(torch.load(path, map_location="cpu", weights_only=True)) if pickled else load_file(path)
    except Exception as error:  # torch's unpickler raises whatever damaged bytes lead it to
        reason = str(error).splitlines() or [type(error).__name__]
        raise BadInputError(f"{path} is damaged or holds no state dict: {reason[0]}") from error
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()):
        raise BadInputError(f"{path} holds no state dict: something in it is no tensor with a name")
    return found


def load_weights(model: nn.Module, path: Path, expected: str | None = None) -> None:
    """Fill a model from a file of weights; raise BadInputError when names or shapes differ."""
    tensors, state = read_tensors(path, expected), model.state_dict()
    for name in state.keys() - tensors.keys():
        raise BadInputError(f"{path}: no weights for {name!r}{nearest(name, tensors.keys() - state.keys())}")
    for name, value in tensors.items():
        if name not in state:
            raise BadInputError(f"{path}: the model has no {name!r}{nearest(name, state)}")
        if value.shape != state[name].shape:
            raise BadInputError(f"{path}: {name!r} is {tuple(value.shape)}, the model's {tuple(state[name].shape)}")
    model.load_state_dict(tensors)


def weights_digest(model: nn.Module) -> str:
    """Hexadecimal SHA-256 of a model's structure and state."""
    state = hashlib.sha256(repr(model).encode())
    for name, value in sorted(model.state_dict().items()):
        flat = value.detach().cpu().contiguous().reshape(-1)
        state.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        state.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return state.hexdigest()
