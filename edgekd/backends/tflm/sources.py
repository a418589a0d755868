"""The model as C, and a page on how firmware runs it."""

from pathlib import Path

from edgekd.backends.pages import page
from edgekd.bundle import TensorSpec

SOURCE, HEADER, GUIDE = "model_data.c", "model_data.h", "MICROCONTROLLER.md"
PER_LINE = 16


def write_sources(
    folder: Path, content: bytes, memory: dict[str, int], methods: list[str], tensors: dict[str, tuple[TensorSpec, ...]]
) -> tuple[str, ...]:
    """Write an aligned array, its header and the page; returns their names.

    `memory` is the footprint, `methods` what `MicroMutableOpResolver` is asked for, `tensors` the inputs and outputs.
    """
    (folder / SOURCE).write_text(_array(content), encoding="utf-8")
    for name in (HEADER, GUIDE):
        (folder / name).write_text(page(name, memory=memory, methods=methods, **tensors), encoding="utf-8")
    return SOURCE, HEADER, GUIDE


def _array(content: bytes) -> str:
    rows = [content[start : start + PER_LINE] for start in range(0, len(content), PER_LINE)]
    lines = ["  " + " ".join(f"0x{byte:02x}," for byte in row) for row in rows]
    head = f'#include "{HEADER}"\n\nconst unsigned char model_data[MODEL_BYTES] __attribute__((aligned(16))) = {{\n'
    return head + "\n".join(lines) + "\n};\n"
