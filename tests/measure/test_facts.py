"""What a machine says of itself: the real script, with some of the programs that it asks replaced."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekd.devices import Device, open_device
from edgekd.measure.facts import machine_facts
from tests.measure.conftest import Tool


@pytest.fixture
def device() -> Iterator[Device]:
    opened = open_device("local:")
    yield opened
    opened.close()


def test_facts_that_are_not_there_have_a_reason(device: Device) -> None:
    machine = machine_facts(device)
    absent: dict[str, Any] = {
        key: value for key, value in json.loads(machine.model_dump_json()).items() if value is None
    }
    assert set(absent) == set(machine.missing)
    assert machine.cores >= 1
    assert machine.python is not None
    assert machine.memory_mb is None or machine.memory_mb > 100


def test_a_phone_is_named_by_its_properties_and_cores(device: Device, tool: Tool) -> None:
    said = {"ro.product.manufacturer": "Google", "ro.product.model": "Pixel 9", "ro.soc.model": "Tensor G4"}
    cases = "".join(f"{name}) echo '{value}';; " for name, value in said.items())
    tool("getprop", f'case "$1" in {cases}esac')
    tool("cat", 'case "$1" in */cpuinfo) printf "CPU part\t: 0xd82\nCPU part\t: 0xd80\nCPU part\t: 0xd82\n";; esac')
    machine = machine_facts(device)
    assert machine.android == said
    assert machine.parts == ("0xd80", "0xd82")
    assert machine.cpu == "Google Pixel 9, Tensor G4"
    assert not machine.emulated


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("readlink", "echo /usr/bin/qemu-aarch64-static"),  # what qemu's user mode cannot hide, on any kernel
        ("uname", '[ "$1" = -m ] && echo aarch64 || echo 6.6'),  # a kernel of another family (Linux 6.1 says which)
        ("cat", 'case "$1" in */cpuinfo) echo "model name : QEMU TCG CPU version 2.5+";; esac'),
        ("getprop", '[ "$1" = ro.boot.qemu ] && echo 1'),  # the Android emulator
    ],
)
def test_an_emulator_is_found_out(device: Device, tool: Tool, name: str, script: str) -> None:
    if name == "uname" and not Path("/proc/sys/kernel/arch").exists():
        pytest.skip("this kernel does not tell its architecture")
    assert not machine_facts(device).emulated
    tool(name, script)
    assert machine_facts(device).emulated


def test_a_users_setting_for_openmp_does_not_make_it_a_smaller_machine(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coreutils' nproc obeys it, and what has other cores cannot be compared."""
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setenv("OMP_NUM_THREADS", str(cores + 1))
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
    assert machine_facts(device).cores == cores
