"""ncnn's two files: `.param` has a line for each layer, `.bin` the layers' numbers in the same order, nothing else.

Their description: docs/developer-guide/param-and-model-file-structure.md of https://github.com/Tencent/ncnn.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Parameter = int | float | Sequence[int] | Sequence[float]

MAGIC = 7767517
ARRAY = -23300  # the key of an array, less its own
OFF = 31  # the key of what a layer may not use
FLOAT_TAG, HALF_TAG, INT8_TAG = 0, 0x01306B47, 0x000D4B38


@dataclass
class Layer:
    """One layer. Each of its outputs is read once, until `Network.finish` puts in what copies."""

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    parameters: dict[int, Parameter] = field(default_factory=dict)
    content: bytes = b""

    def __str__(self) -> str:
        """The line of the .param file."""
        words = [self.kind, self.name, len(self.inputs), len(self.outputs), *self.inputs, *self.outputs]
        return " ".join(map(str, [*words, *(_parameter(key, value) for key, value in self.parameters.items())]))


def _parameter(key: int, value: Parameter) -> str:
    if isinstance(value, int | float):
        return f"{key}={_number(value)}"
    return ",".join([f"{ARRAY - key}={len(value)}", *map(_number, value)])


def _number(value: float) -> str:
    """Integers and floats are told apart by how they are written; nine digits are a float32's."""
    return str(value) if isinstance(value, int) else f"{value:.9e}"


def plain(values: Any) -> bytes:
    """Numbers that are float32 whatever the precision: biases, scales, constants."""
    return np.ascontiguousarray(values, "<f4").tobytes()


def weights(values: Array) -> bytes:
    """A layer's weights behind the tag of their type: int8, float16 or float32."""
    tag = {np.dtype(np.int8): INT8_TAG, np.dtype(np.float16): HALF_TAG}.get(values.dtype, FLOAT_TAG)
    content = np.ascontiguousarray(values).tobytes()
    return np.array(tag, "<u4").tobytes() + content + bytes(-len(content) % 4)


@dataclass
class Network:
    """Layers in the order of execution, inputs first; `off` are the features that none of them may use, as bits."""

    off: int
    layers: list[Layer] = field(default_factory=list)

    def finish(self, outputs: Sequence[str]) -> tuple[str, bytes]:
        """The content of both files. Blobs that leave the network are called out0, out1 …, those that enter in0 ….

        A blob has one reader: what several read, or what enters and leaves unchanged, goes through a Split.
        """
        self._prune(outputs)
        self._split(outputs)
        for layer in self.layers:
            if layer.kind != "Input":
                layer.parameters[OFF] = self.off
        blobs = sum(len(layer.outputs) for layer in self.layers)
        lines = [str(MAGIC), f"{len(self.layers)} {blobs}", *map(str, self.layers)]
        return "\n".join(lines) + "\n", b"".join(layer.content for layer in self.layers)

    def _prune(self, outputs: Sequence[str]) -> None:
        needed, kept = set(outputs), []
        for layer in reversed(self.layers):
            if layer.kind == "Input" or needed & set(layer.outputs):
                needed |= set(layer.inputs)
                kept.append(layer)
        self.layers = kept[::-1]

    def _split(self, outputs: Sequence[str]) -> None:
        uses = Counter(blob for layer in self.layers for blob in layer.inputs) + Counter(outputs)
        entering = {blob for layer in self.layers if layer.kind == "Input" for blob in layer.outputs}
        leaving = defaultdict[str, list[str]](list)
        for index, blob in enumerate(outputs):
            leaving[blob].append(f"out{index}")
        copies: dict[str, list[str]] = {}
        layers = []
        for layer in self.layers:
            layer.inputs = [copies[blob].pop(0) if blob in copies else blob for blob in layer.inputs]
            made, layer.outputs = layer.outputs, [_name(blob, uses, leaving, entering) for blob in layer.outputs]
            layers.append(layer)
            for blob in made:
                if uses[blob] > 1 or (blob in entering and leaving[blob]):
                    inner = uses[blob] - len(leaving[blob])
                    copies[blob] = [f"{blob}:copy{index}" for index in range(inner)]
                    layers.append(Layer("Split", f"{blob}:split", [blob], [*copies[blob], *leaving[blob]]))
        self.layers = layers


def _name(blob: str, uses: Mapping[str, int], leaving: Mapping[str, list[str]], entering: set[str]) -> str:
    """A blob that only leaves is called so at once."""
    return leaving[blob][0] if uses[blob] == 1 and leaving.get(blob) and blob not in entering else blob
