"""Checkpoints as people have them: what a file holds is told by its content, and no code in it is run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgekd.errors import BadInputError
from edgekd.reading import reading, reason, require_file

Tensors = dict[str, Tensor]

_CONVERT = (
    "convert it where its own code can open it: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # as torch.save writes since 1.6, and before


def read_state_dicts(path: Path) -> dict[str, Tensors]:
    """Every state dict in a file, by the keys that lead to it, such as "model" or "" for the file itself.

    Reads safetensors and what `torch.save` wrote, whatever the file is called. Raises BadInputError when it is absent,
    damaged, or holds more than tensors and plain values: such a file is not opened.
    """
    with reading(path, "a readable state dict"):
        with require_file(path).open("rb") as stream:
            head = stream.read(max(len(_PICKLE), 9))
        if head.startswith((_ZIP, _PICKLE)):
            found = dict(_state_dicts(_unpickled(path, zipped=head.startswith(_ZIP))))
        else:
            found = {"": _mapped(path, head)}
    if not found:
        raise BadInputError(f"{path} holds no state dict: there is no dictionary of tensors by name in it")
    return found


def _mapped(path: Path, head: bytes) -> Tensors:
    try:
        return load_file(path)
    except Exception as error:
        begins = "" if head[8:9] == b"{" else "it begins like neither safetensors nor a file of torch.save"
        raise BadInputError(f"{path} is damaged or holds no state dict: {begins or reason(error)}") from error


def _unpickled(path: Path, *, zipped: bool) -> Any:
    mapped = zipped and path.suffix != ".safetensors"  # torch.load goes by that name, unless it is given the content
    try:
        with path.open("rb") as stream, torch.serialization.safe_globals(_layers(path) if zipped else []):
            return torch.load(path if mapped else stream, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch's unpickler raises whatever damaged bytes lead it to
        if foreign := _foreign(path) if zipped else []:
            raise BadInputError(
                f"{path} holds objects of {', '.join(foreign[:3])}, which only code could open; {_CONVERT}"
            ) from error
        if "weights_only" in str(error):
            raise BadInputError(f"{path} holds more than tensors, which only code could open; {_CONVERT}") from error
        raise BadInputError(f"{path} is damaged or holds no state dict: {reason(error)}") from error


def _layers(path: Path) -> list[Any]:
    """The classes of torch's own layers that a file names: a saved network made of nothing else is only data."""
    known = {f"{kind.__module__}.{name}": kind for name, kind in vars(nn).items() if _is_layer(kind)}
    return [known[name] for name in _globals(path) if name in known]


def _is_layer(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, nn.Module)


def _foreign(path: Path) -> list[str]:
    layers = {f"{kind.__module__}.{kind.__name__}" for kind in _layers(path)}
    return sorted(set(_globals(path)) - layers)


def _globals(path: Path) -> list[str]:
    """What a file names beyond tensors and plain values."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # damaged: reading it says how
        return []


def _state_dicts(document: Any, where: str = "") -> Iterator[tuple[str, Tensors]]:
    """State dicts in nested dictionaries and saved layers; what is no tensor (an epoch, a metric) is left aside."""
    if isinstance(document, nn.Module):
        document = dict(_state_of(document))
    if not isinstance(document, Mapping):
        return
    own = {key: value for key, value in document.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if own:
        yield where, own
    for key, value in document.items():
        if isinstance(key, str):
            yield from _state_dicts(value, f"{where}.{key}".lstrip("."))


def _state_of(layer: nn.Module, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """As `state_dict` gives it, but read off: none of what came with the file is called."""
    own = vars(layer)
    passing = own.get("_non_persistent_buffers_set", ())
    for name, value in {**own.get("_parameters", {}), **own.get("_buffers", {})}.items():
        if isinstance(value, Tensor) and name not in passing:
            yield f"{prefix}{name}", value.detach()
    for name, child in own.get("_modules", {}).items():
        if isinstance(child, nn.Module):
            yield from _state_of(child, f"{prefix}{name}.")
