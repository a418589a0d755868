"""Vela's words and figures, made up: which operator it fails over, what is told of each, what the CPU is left."""

from types import SimpleNamespace
from typing import Any

import pytest

from edgekd.backends.ethos_u import build, failures, placed, vela
from edgekd.backends.ethos_u.failures import refusal
from edgekd.backends.ethos_u.vela import Answer, Setting, VelaError
from edgekd.backends.tflite.convert import Converted, convert
from edgekd.backends.tflite.ops import ops_of
from edgekd.errors import BadInputError
from edgekd.target import load_target
from tests import factories
from tests.factories import Net

U55 = load_target("ethos-u55-128")
SETTING = Setting("ethos-u55-128", "Ethos_U55_High_End_Embedded", "Shared_Sram")
MADE = Net(1, (3, 8, 8))
MODEL = factories.quantize(
    MADE.model(MADE.conv(MADE.relu(MADE.conv(MADE.op("MaxPool", "input", kernel_shape=[2, 2]), 3, 4)), 4, 2)),
    MADE.inputs(8),
)


@pytest.fixture(scope="module")
def converted() -> Converted:
    return convert(MODEL, U55, "int8", fixed_batch=True)


@pytest.mark.parametrize(
    ("said", "reason"), [("a\n b \n", "b"), ("only", "only"), (" \n", "it says nothing"), ("", "it says nothing")]
)
def test_the_last_that_vela_says_is_the_reason(said: str, reason: str) -> None:
    assert VelaError(said).reason == reason


@pytest.mark.parametrize("culprit", range(3))
def test_the_first_operator_to_fail_is_searched_for_by_halves(
    culprit: int, converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops, asked = ops_of(converted.content), list[int]()

    def compiled(content: bytes, setting: Setting, seconds: float) -> None:
        asked.append(len(ops_of(content)))
        assert seconds == 60
        if asked[-1] > culprit:
            raise VelaError("no")

    monkeypatch.setattr(failures, "compiled_by_vela", compiled)
    assert failures._first_to_fail(converted.content, ops, SETTING) is ops[culprit]
    assert len(asked) <= (len(ops) - 1).bit_length() == 2


def test_an_operator_that_vela_names_is_told_with_its_reason_in_a_line(converted: Converted) -> None:
    op = ops_of(converted.content)[-1]
    fault = f"Error: CONV_2D '{op.name}' Does not have valid TFLite Semantics.\n - too wide,\n   IFM: 9\n"
    told = str(refusal(MODEL, converted.content, SETTING, VelaError(f"noise\n{fault}")))
    assert told.endswith(f" fails over its {op.code}: too wide; IFM: 9")
    assert told.startswith("node 'conv_3' (Conv) is not for ethos-u55-128: Vela ")
    long = str(refusal(MODEL, converted.content, SETTING, VelaError(fault.replace("too wide", 999 * "x"))))
    assert long.count("x") == 300


@pytest.mark.parametrize(
    ("left", "more"), [(["a"], ""), (["a", "b"], " (and 1 more)"), (["a", "b", "c"], " (and 2 more)")]
)
def test_what_is_left_to_a_cpu_that_may_have_nothing_is_refused(left: list[str], more: str) -> None:
    with pytest.raises(BadInputError) as caught:
        build._require_npu(left, U55)
    assert str(caught.value).startswith(f"a{more}; compiler.allow_cpu = true")
    build._require_npu([], U55)
    build._require_npu(left, U55.model_copy(update={"compiler": {**U55.compiler, "allow_cpu": True}}))


def row(name: str, target: str = "NPU", scale: int = 1) -> dict[str, str]:
    columns = ("Op Cycles", "MAC Count", "Staging Usage", "SRAM AC", "DRAM AC", "OnFlash AC", "OffFlash AC")
    return {"Name": name, "Target": target} | {name: str(scale * (index + 1)) for index, name in enumerate(columns)}


SUMMARY = {
    "core_clock": "5e8", "cycles_total": "100", "nn_macs": "7", "sram_memory_used": "1.5", "dram_memory_used": "0.25",
    "on_chip_flash_memory_used": "2", "off_chip_flash_memory_used": "0.5",
}  # fmt: skip


def placement(
    converted: Converted, rows: list[dict[str, str]], left: list[Any], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Of a compiled file with two parts for the NPU, and operators that are left."""
    parts = [SimpleNamespace(name=f"npu{index}", code="CUSTOM") for index in range(2)]

    def read(content: bytes) -> list[Any]:
        return [*parts, *left] if content == b"compiled" else ops_of(content)

    monkeypatch.setattr(placed, "ops_of", read)
    return placed.placed(MODEL, converted, Answer(b"compiled", SUMMARY, rows, {}), SETTING)


def test_figures_of_the_whole_are_in_bytes_and_those_of_parts_of_an_operator_are_summed(
    converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = ops_of(converted.content)
    rows = [row(f"{first.name}_0", scale=10), row(f"{first.name}_1_x"), *(row(op.name) for op in others[:-1])]
    found = placement(converted, rows, [], monkeypatch)
    assert (found.clock_hz, found.cycles, found.macs, found.islands) == (5e8, 100, 7, 2)
    assert (found.sram_bytes, found.dram_bytes, found.flash_bytes) == (1536, 256, 2560)
    assert [op.op for op in found.ops] == [op.code for op in (first, *others[:-1])]  # the last has no row
    split = found.ops[0]
    assert (split.cycles, split.macs, split.sram_bytes) == (11, 22, 30)
    assert (split.sram_cycles, split.dram_cycles, split.flash_cycles) == (44, 55, 11 * (6 + 7))
    assert found.on_cpu == ()


def test_what_is_left_to_the_cpu_is_so_in_reports_and_file(
    converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = ops_of(converted.content)
    rows = [row(first.name, "CPU"), *(row(op.name) for op in others)]
    found = placement(converted, rows, [first], monkeypatch)
    assert [(op.op, op.reason) for op in found.on_cpu] == [(first.code, "Vela does not say why")]
    assert found.on_cpu[0].cycles == 0
    with pytest.raises(BadInputError, match=f"they tell of other operators on the CPU than the file has: {first.name}"):
        placement(converted, rows, [], monkeypatch)


def test_reasons_of_vela_are_one_line_each() -> None:
    said = "".join(
        f"Warning (supported operators) operator: {op} - x, ofm: '{tensor}'\n - Reason: a\n   {why}\n\n"
        for op, tensor, why in (("SIN", "s", "b"), ("ADD", "t", 999 * "y"))
    )
    found = vela._reasons(said)
    assert found["s"] == "- Reason: a; b"
    assert len(found["t"]) == 300
