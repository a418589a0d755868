"""What a compiler for an NPU says of a model: what it does not tell is nothing, and operators on the CPU are told."""

import pytest

from edgekd.backends.placement import PLACEMENT, PlacedOp, Placement
from edgekd.bundle import File
from edgekd.errors import BadInputError

COUNTS = {"cycles", "macs", "sram_bytes"}


def test_what_a_compiler_does_not_tell_is_nothing() -> None:
    op = PlacedOp(layer="a", node="b", op="Conv", unit="NPU")
    assert {
        name: getattr(op, name) for name in (*COUNTS, "sram_cycles", "dram_cycles", "flash_cycles")
    } == dict.fromkeys((*COUNTS, "sram_cycles", "dram_cycles", "flash_cycles"), 0)
    assert (op.precision, op.reason) == (None, None)
    found = Placement.parse(
        {"source": "s", "accelerator": "npu", "model": {"sha256": "0", "bytes": 3}, "ops": []}, PLACEMENT
    )
    assert {name: getattr(found, name) for name in (*COUNTS, "dram_bytes", "flash_bytes")} == dict.fromkeys(
        (*COUNTS, "dram_bytes", "flash_bytes"), 0
    )
    assert (found.format, found.options, found.compiled, found.islands, found.clock_hz) == (1, {}, None, None, None)


def test_operators_on_the_cpu_are_told_in_their_order() -> None:
    ops = [PlacedOp(layer=str(i), node="n", op="Conv", unit="CPU" if i % 2 else "NPU", cycles=i) for i in range(5)]
    found = Placement(source="s", accelerator="npu", model=File(sha256="0", bytes=3), ops=tuple(ops))
    assert [op.layer for op in found.on_cpu] == ["1", "3"]


@pytest.mark.parametrize("wrong", [{"format": 2}, {"clock_hz": 0}, {"cycles": -1}, {"islands": -1}])
def test_what_is_no_placement_is_refused(wrong: dict[str, int]) -> None:
    told = {"source": "s", "accelerator": "npu", "model": {"sha256": "0", "bytes": 3}, "ops": []}
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        Placement.parse(told | wrong, PLACEMENT)
