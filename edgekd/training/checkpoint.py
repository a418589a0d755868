"""Checkpoints that a kill at any moment leaves whole: the JSON file commits the tensors that it names by hash."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from edgekd.errors import DamagedError
from edgekd.files import read_sealed, sha256, write_sealed
from edgekd.training.weights import read_tensors, save_tensors

JSON = "checkpoint.json"


@dataclass
class Position:
    """Where a training stands; `sums` are this epoch's losses so far, `best` the best validation metric."""

    step: int = 0
    best: float | None = None
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def add(self, losses: dict[str, float]) -> None:
        """Count one step and its losses."""
        self.step += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self, steps: int) -> dict[str, float]:
        """This epoch's mean losses over its `steps`; the sums start anew."""
        means = {name: total / steps for name, total in self.sums.items()}
        self.sums = {}
        return means


def save_checkpoint(folder: Path, key: str, position: Position, tensors: dict[str, Tensor]) -> None:
    """Write a checkpoint, then drop the one before."""
    name = f"checkpoint.{position.step}.safetensors"
    digest = save_tensors(tensors, folder / name)
    write_sealed(folder / JSON, {"key": key, "tensors": name, "tensors_sha256": digest, "position": asdict(position)})
    _drop_others(folder, name)


def load_checkpoint(folder: Path, key: str) -> tuple[Position, dict[str, Tensor]] | None:
    """Return the checkpoint in a folder, or None when there is none or it has another key.

    Raises DamagedError when a bit of it is not what was written.
    """
    document = read_sealed(folder / JSON)
    if document is None or document["key"] != key:
        return None
    tensors = folder / document["tensors"]
    if not tensors.is_file() or sha256(tensors) != document["tensors_sha256"]:
        raise DamagedError(tensors)
    _drop_others(folder, tensors.name)
    return Position(**document["position"]), read_tensors(tensors)


def _drop_others(folder: Path, name: str) -> None:
    for old in (*folder.glob("checkpoint.*.safetensors"), *folder.glob(".checkpoint.*")):
        if old.name != name:
            old.unlink(missing_ok=True)
