"""Where a compiler for an NPU put each operator, and what it takes by the compiler's own model: nothing is measured."""

from typing import Literal

from edgekd.bundle import File
from edgekd.schema import Count, Positive, Schema

PLACEMENT = "placement.json"


class PlacedOp(Schema):
    """One operator. `layer` is what it is of, `node` that in the model's graph, `reason` why the NPU does not take it.

    `sram_bytes` are in use while it runs; `sram_cycles`, `dram_cycles` and `flash_cycles` are spent on each memory.
    """

    layer: str
    node: str
    op: str
    unit: Literal["NPU", "CPU"]
    reason: str | None = None
    cycles: Count = 0
    macs: Count = 0
    sram_bytes: Count = 0
    sram_cycles: Count = 0
    dram_cycles: Count = 0
    flash_cycles: Count = 0


class Placement(Schema):
    """A compiled model: `source` says whose estimate the cycles are; operators on the CPU have none.

    `model` is the file that was compiled, whose outputs are proven, `compiled` what became of it for the device.
    """

    format: Literal[1] = 1
    source: str
    accelerator: str
    options: dict[str, str]
    model: File
    compiled: File
    clock_hz: Positive
    cycles: Count
    macs: Count
    sram_bytes: Count
    dram_bytes: Count
    flash_bytes: Count
    ops: tuple[PlacedOp, ...]

    @property
    def on_cpu(self) -> tuple[PlacedOp, ...]:
        """What the NPU leaves to the CPU."""
        return tuple(op for op in self.ops if op.unit == "CPU")
