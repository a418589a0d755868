"""LiteRT in a browser: LiteRT.js, in WebAssembly or by WebGPU. It takes fixed shapes alone."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edgekd.reading import reading
from edgekd.web.runtimes import Package, WebRuntime

SUBGRAPHS, TENSORS, SHAPE, SIGNATURE = 2, 0, 0, 7  # fields of Model, SubGraph and Tensor in TFLite's schema


def fixed_batch(model: bytes, batch: int) -> bytes:
    """The same file with its free sizes, -1 in a `shape_signature`, those of a batch; they are kept for a batch of 1.

    Only these numbers change, each in its place. BadInputError for what is no .tflite file.
    """
    with reading("the model", "a .tflite file"):
        buffer = _Buffer(bytearray(model))
        for tensor in buffer.tensors():
            sizes, signature = buffer.integers(tensor, SHAPE), buffer.integers(tensor, SIGNATURE)
            for size, free in zip(sizes, signature, strict=False):
                if buffer.number("<i", free) == -1:
                    fixed = buffer.number("<i", size) * batch
                    struct.pack_into("<i", buffer.content, size, fixed)
                    struct.pack_into("<i", buffer.content, free, fixed)
        return bytes(buffer.content)


@dataclass(frozen=True)
class _Buffer:
    """A flatbuffer: tables that name their fields' places by a table of offsets, and vectors with their length first.

    Places are counted in bytes from the beginning.
    """

    content: bytearray

    def tensors(self) -> Iterator[int]:
        """All tensors of all subgraphs."""
        for subgraph in self._tables(self.number("<I", 0), SUBGRAPHS):
            yield from self._tables(subgraph, TENSORS)

    def integers(self, table: int, field: int) -> range:
        """Where the numbers of a field's vector of int32 are."""
        begin, count = self._vector(table, field)
        return range(begin, begin + 4 * count, 4)

    def number(self, kind: str, place: int) -> int:
        """One number, of a type as `struct` spells it."""
        if place < 0:
            raise ValueError("an offset leads out of the file")
        return int(struct.unpack_from(kind, self.content, place)[0])

    def _tables(self, table: int, field: int) -> Iterator[int]:
        begin, count = self._vector(table, field)
        for place in range(begin, begin + 4 * count, 4):
            yield place + self.number("<I", place)

    def _vector(self, table: int, field: int) -> tuple[int, int]:
        """Where a field's vector has its first entry, and how many there are: none where the field is absent."""
        offsets = table - self.number("<i", table)
        entry = 4 + 2 * field
        offset = self.number("<H", offsets + entry) if entry < self.number("<H", offsets) else 0
        if not offset:
            return 0, 0
        begin = table + offset + self.number("<I", table + offset)
        count = self.number("<I", begin)
        if begin + 4 + 4 * count > len(self.content):
            raise ValueError("a vector leads out of the file")
        return begin + 4, count


WEB = WebRuntime(
    title="LiteRT.js",
    packages=(
        Package(
            "@litertjs/core",
            "2.5.3",
            {
                "litert.mjs": (
                    "dist/index.js",
                    "e7daccc3a31eef890848a737ccb863ded5f046a6b40c3fdc0556495adeb5d9b3",
                ),
                "litert_wasm_internal.js": (
                    "wasm/litert_wasm_internal.js",
                    "68efb69f770e3f76aff36a377de629ca496c131b86ac0f0f4b592a1543a898eb",
                ),
                "litert_wasm_internal.wasm": (
                    "wasm/litert_wasm_internal.wasm",
                    "7280cf4471774867e385e6c3cd53e2b45e2975b80fea338fff4ef359b0865614",
                ),
                "litert_wasm_compat_internal.js": (  # where there is no relaxed SIMD, as in Safari
                    "wasm/litert_wasm_compat_internal.js",
                    "4d8f894b7883654fd6e8439730aa41e79ceaab7d19184fc4f1f0b0f1a2a2c8a5",
                ),
                "litert_wasm_compat_internal.wasm": (
                    "wasm/litert_wasm_compat_internal.wasm",
                    "5255c8ad06eabdbd2522cdebf6b22fc10faf74625c23a49b9e072570cd1fa41c",
                ),
            },
        ),
        Package(
            "@litertjs/wasm-utils",
            "2.5.3",
            {
                "wasm-utils.mjs": (
                    "dist/index.js",
                    "e0e20bc28ab001ac732cf40d15b6eebd24fb0deaeb95eeba5100f51eebf015f2",
                ),
            },
        ),
    ),
    imports={"@litertjs/wasm-utils": "wasm-utils.mjs"},
    served=fixed_batch,
)
