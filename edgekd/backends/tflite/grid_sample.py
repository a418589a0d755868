"""GridSample: elements of a map at computed places, gathered sample by sample and weighed."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekd.backends.tflite.gathering import by_row
from edgekd.backends.tflite.graph import Array, Node
from edgekd.backends.tflite.rules import Layout, float_only, rule
from edgekd.backends.tflite.writer import Writer

LINEAR, NEAREST = (b"linear", b"bilinear"), (b"nearest",)
OPTIONS: dict[str, Callable[[], Any]] = {
    "ADD": schema.AddOptionsT,
    "CAST": schema.CastOptionsT,
    "FLOOR_MOD": schema.FloorModOptionsT,
    "MAXIMUM": schema.MaximumMinimumOptionsT,
    "MINIMUM": schema.MaximumMinimumOptionsT,
    "MUL": schema.MulOptionsT,
    "PAD": schema.PadOptionsT,
    "REDUCE_PROD": schema.ReducerOptionsT,
    "SUB": schema.SubOptionsT,
    "SUM": schema.ReducerOptionsT,
}
Operand = str | Array | np.float32
PAIR = np.array([2], np.int32)  # the axis of what belongs to one place
OPPOSITE = np.array([[1, 0, 1, 0], [1, 1, 0, 0]], np.float32)  # column and row of each corner's opposite one


@rule("GridSample", layout=Layout.SPATIAL, refuses_int8=float_only)
def grid_sample(writer: Writer, node: Node) -> None:
    """Around the map lie zeros, or what the places are moved to; each of four corners counts by how near it is."""
    mode = node.attributes.get("mode", b"linear")
    if writer.tensor(node.inputs[0]).rank != 4 or mode not in LINEAR + NEAREST:
        node.refuse("only linear and nearest samples of 2-D maps have a TFLite form: export it with mode='bilinear'")
    if writer.tensor(node.inputs[0]).data is not None:
        node.refuse("its map is a constant: give the model the map as an input")
    steps = _Steps(writer, node)
    places = steps.places(nearest=mode in NEAREST)
    writer.reshape(steps.nearest(places) if mode in NEAREST else steps.linear(places), node.output)


class _Steps:
    """The ops of one node, each called by a number. A place is a pair (column, row), as grids have it."""

    def __init__(self, writer: Writer, node: Node) -> None:
        self.writer, self.name, self.map, self.grid = writer, node.output, *node.inputs
        self.padding = node.attributes.get("padding_mode", b"zeros")
        self.aligned = node.attributes.get("align_corners", 0)
        self.border = int(self.padding == b"zeros")
        tensor = writer.tensor(self.map)
        self.batch, self.channels = (tensor.shape[0], tensor.signature[0]), tensor.shape[3]
        self.inner = np.array(tensor.shape[2:0:-1], np.float32)
        self.sizes = self.inner + 2 * self.border
        self.count = prod(writer.tensor(self.grid).shape[1:3])
        self.number = 0

    def __call__(self, code: str, *operands: Operand, sizes: tuple[int, ...] = (), **changes: Any) -> str:
        """The tensor that an op makes: like its first computed operand, or of other sizes behind the batch."""
        like = next(operand for operand in operands if isinstance(operand, str))
        name = self._new(like, sizes, **changes)
        self.writer.op(code, [self._named(operand) for operand in operands], name, OPTIONS.get(code, lambda: None)())
        return name

    def places(self, *, nearest: bool) -> str:
        """(N, places, 2): where in the map, its border included, each element of the result is read."""
        span = self.inner - 1 if self.aligned else self.inner
        found = self("ADD", self("MUL", self._shaped(self.grid, self.count, 2), span / 2), (self.inner - 1) / 2)
        if nearest:
            found = self("ROUND", found)
        if self.padding == b"reflection":
            found = self._mirrored(found, np.float32(0 if self.aligned else -0.5), np.maximum(2 * span, 1))
        if self.border:
            found = self("ADD", found, np.float32(self.border))
        return self("MINIMUM", self("MAXIMUM", found, np.float32(0)), self.sizes - 1)

    def _mirrored(self, places: str, first: np.float32, period: Array) -> str:
        """Reflected at the ends of the map."""
        there = self("FLOOR_MOD", self("SUB", places, first), period)
        return self("ADD", self("MINIMUM", there, self("SUB", period, there)), first)

    def nearest(self, places: str) -> str:
        """(N, places, channels)."""
        return self._gathered(self._index(places), self.count)

    def linear(self, places: str) -> str:
        """(N, places, channels): the four elements around each place, weighed."""
        first = self("MINIMUM", self("FLOOR", places), np.maximum(self.sizes - 2, 0))
        beyond = self._shaped(self("SUB", places, first), self.count, 2, 1)
        near = self("ABS", self("SUB", beyond, OPPOSITE, sizes=(self.count, 2, 4)))
        weights = self("REDUCE_PROD", near, PAIR, sizes=(self.count, 4))
        steps = np.array([1, self.sizes[0]], np.int32) * (self.sizes > 1)
        corners = ((1 - OPPOSITE).T @ steps).astype(np.int32)
        indices = self("ADD", self._shaped(self._index(first), self.count, 1), corners, sizes=(self.count, 4))
        weighed = self("MUL", self._gathered(indices, self.count, 4), self._shaped(weights, self.count, 4, 1))
        return self("SUM", weighed, PAIR, sizes=(self.count, self.channels))

    def _index(self, places: str) -> str:
        """(N, places) int32: whole columns and rows as places of the flat map."""
        whole = self("CAST", places, dtype=np.dtype(np.int32))
        steps = self("MUL", whole, np.array([1, self.sizes[0]], np.int32))
        return self("SUM", steps, PAIR, sizes=(self.count,))

    def _gathered(self, indices: str, *sizes: int) -> str:
        source, (width, height) = self.map, (int(size) for size in self.sizes)
        if self.border:
            around = np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int32)
            source = self("PAD", source, around, sizes=(height, width, self.channels))
        found = self._new(self.map, (*sizes, self.channels))
        by_row(self.writer, self._shaped(source, height * width, self.channels), indices, found, 1)
        return found

    def _shaped(self, source: str, *sizes: int) -> str:
        name = self._new(source, sizes)
        self.writer.reshape(source, name)
        return name

    def _new(self, like: str, sizes: tuple[int, ...], **changes: Any) -> str:
        self.number += 1
        if sizes:
            changes |= {"shape": (self.batch[0], *sizes), "signature": (self.batch[1], *sizes)}
        return self.writer.like(like, f"{self.name}:{self.number}", **changes)

    def _named(self, operand: Operand) -> str:
        if isinstance(operand, str):
            return operand
        self.number += 1
        return self.writer.constant(f"{self.name}:{self.number}", np.asarray(operand))
