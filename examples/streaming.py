"""More data than memory holds: vibrations as a stream, made while networks learn, to a proven int8 bundle."""

import resource
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

import edgekd


def vibrations(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Signals float32 (N, 3, 1024) of one of four machines, told by how fast they shake, under noise; and which."""
    labels, time = random.integers(0, 4, count), np.arange(1024) / 1024
    speed, phase = 20 * (1 + labels) + random.uniform(-4, 4, count), random.uniform(0, 6.3, (count, 3, 1))
    signals = np.sin(6.2832 * speed[:, None, None] * time + phase) + random.normal(0, 1, (count, 3, 1024))
    return signals.astype(np.float32), labels


class Recorder(IterableDataset):
    """Batches of 64 signals that nobody keeps; a source of one's own reads files, a socket or a data base here."""

    def __init__(self, batches: int) -> None:
        self.batches, self.name = batches, f"recorder-{batches}"

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        random = np.random.default_rng(0)
        yield from (vibrations(64, random) for _ in range(self.batches))


def network(width: int) -> nn.Sequential:
    """From signals to logits (N, 4)."""
    first = [nn.Conv1d(3, width, 32, 8), nn.BatchNorm1d(width), nn.ReLU()]
    second = [nn.Conv1d(width, 2 * width, 8, 4), nn.BatchNorm1d(2 * width), nn.ReLU(), nn.AdaptiveAvgPool1d(1)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(2 * width, 4))


def main(batches: int = 300, out: str = "bundles") -> tuple[float, float]:
    """Return the accuracy of the int8 bundle, and the MB by which memory grew while 236 of them taught the student."""
    torch.manual_seed(0)
    val, test = (vibrations(512, np.random.default_rng(seed)) for seed in (1, 2))
    data = DataLoader(Recorder(batches), None), val, test
    training = edgekd.Training(epochs=1, optimizer="adamw", learning_rate=0.01)
    teacher = edgekd.train(network(32), data, training=training)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    student = edgekd.distill(teacher, network(8), data, [edgekd.KD()], training=training)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    quantized = edgekd.quantize(student, "int8-asymmetric", data, training=None)
    bundle = edgekd.export(quantized, "x86-onnxruntime", out, name="vibrations")
    return edgekd.evaluate(bundle, test).value, grown


if __name__ == "__main__":
    print("accuracy in int8: {:.1%}; memory grew by {:.0f} MB".format(*main()))
