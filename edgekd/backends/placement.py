"""Where a compiler for an NPU put each operator, and what that takes by a model of its own: nothing is measured."""

from typing import Literal

from pydantic import Field

from edgekd.bundle import File
from edgekd.schema import Count, Positive, Schema

PLACEMENT = "placement.json"


class PlacedOp(Schema):
    """One operator. `layer` is what it is of, `node` that in the model's graph, `reason` why the NPU does not take it.

    `precision` is what it computes in, where the compiler tells; `reason` says then why that is not integers.
    `sram_bytes` are in use while it runs; `sram_cycles`, `dram_cycles` and `flash_cycles` are spent on each memory.
    """

    layer: str
    node: str
    op: str
    unit: Literal["NPU", "CPU"]
    precision: Literal["integer", "float16"] | None = None
    reason: str | None = None
    cycles: Count = 0
    macs: Count = 0
    sram_bytes: Count = 0
    sram_cycles: Count = 0
    dram_cycles: Count = 0
    flash_cycles: Count = 0


class Placement(Schema):
    """A compiled model: `source` says whose word it is. Operators on the CPU have no cycles; without a clock, none has.

    `model` is the file that was compiled, whose outputs are proven, `compiled` what became of it for the device, if it
    was not left to the device; `islands` are the parts that the NPU takes whole.
    """

    format: Literal[1] = 1
    source: str
    accelerator: str
    options: dict[str, str] = Field(default_factory=dict)
    model: File
    compiled: File | None = None
    islands: Count | None = None
    clock_hz: Positive | None = None
    cycles: Count = 0
    macs: Count = 0
    sram_bytes: Count = 0
    dram_bytes: Count = 0
    flash_bytes: Count = 0
    ops: tuple[PlacedOp, ...]

    @property
    def on_cpu(self) -> tuple[PlacedOp, ...]:
        """What the NPU leaves to the CPU."""
        return tuple(op for op in self.ops if op.unit == "CPU")
