"""Weights on disk, and the hash that names them."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.files import sha256, write_bytes
from edgekd.networks import bare
from edgekd.reading import reading, require_file
from edgekd.training.fitting import fitting
from edgekd.training.state_dicts import read_state_dicts


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
    """Read a file that `save_tensors` wrote.

    Raises BadInputError when the file is absent, damaged, or not the `expected` sha256.
    """
    require_file(path)
    if expected is not None and sha256(path) != expected:
        raise BadInputError(f"{path} is damaged (its sha256 is not the recorded one): delete it to train again")
    with reading(path, "a whole file of tensors"):
        return load_file(path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model from a checkpoint, be it safetensors or what `torch.save` wrote, nested or under a prefix.

    Raises BadInputError when names or shapes differ, or where code would have to be run to read it.
    """
    plain = bare(model)
    plain.load_state_dict(fitting(read_state_dicts(path), plain.state_dict(), path))


def weights_digest(model: nn.Module) -> str:
    """Hexadecimal SHA-256 of a model's structure and state."""
    state = hashlib.sha256(repr(model).encode())
    for name, value in sorted(model.state_dict().items()):
        flat = value.detach().cpu().contiguous().reshape(-1)
        state.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        state.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return state.hexdigest()
