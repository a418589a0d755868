"""Profiles against machines: each fits the device that it describes, and not another."""

from typing import Any

import pytest

from edgekd.measure.facts import Machine
from edgekd.measure.target_check import CORES, NAME, mismatches
from edgekd.target import Target, builtin_targets, load_target

PARTS = {name: part for part, name in CORES.items()}


def described(target: Target, **more: Any) -> Machine:
    """The machine that a profile promises; of its memory 7 % are kept back, as on a Raspberry Pi or a Jetson."""
    facts = target.facts
    found = {
        "cpu": facts.cpu or "x86", "arch": "aarch64", "cores": facts.cores or 16, "kernel": "6.6", "python": "3.11.2",
        "flags": tuple(feature.split("|")[0] for feature in facts.isa),
        "memory_mb": int(930 * facts.memory_gb) if facts.memory_gb else 16_000,
        "parts": tuple(PARTS[name] for name in NAME.findall(facts.cpu or "") if name in PARTS),
        **dict.fromkeys(("governor", "frequency_mhz", "max_frequency_mhz")), **more,
    }  # fmt: skip
    return Machine.model_validate(found)


@pytest.mark.parametrize("name", builtin_targets())
def test_every_profile_fits_its_own_device(name: str) -> None:
    target = load_target(name)
    assert list(mismatches(described(target), target)) == []


@pytest.mark.parametrize("name", [name for name in builtin_targets() if not name.startswith("tflm")])
def test_every_arm_core_of_a_profile_is_recognised(name: str) -> None:
    cores = NAME.findall(load_target(name).facts.cpu or "")
    assert [core for core in cores if core not in PARTS] == []


def test_a_pi_4_is_no_pi_5() -> None:
    pi4, pi5 = load_target("raspberry-pi-4"), load_target("raspberry-pi-5")
    doubts = list(mismatches(described(pi4), pi5))
    assert [found for what, found, _ in doubts if what == "CPU"] == ["lacks asimddp", "lacks asimdhp", "Cortex-A72"]
    assert {advice for _, _, advice in doubts} == {"is it a device for raspberry-pi-5?"}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_cpu_without_vnni_has_targets_of_its_own(backend: str) -> None:
    old, wanted = load_target(f"x86-{backend}-no-vnni"), load_target(f"x86-{backend}")
    assert list(mismatches(described(old), wanted)) == [
        ("CPU", "lacks avx512_vnni|avx_vnni", f"{old.name} is for such a CPU")
    ]


def test_cores_and_memory_that_are_missing_are_counted() -> None:
    target = load_target("jetson-orin-nano")
    doubts = list(mismatches(described(target, cores=4, memory_mb=3700), target))
    assert doubts == [
        ("cores", "4 of 6", "a power mode or a cpuset holds the others back"),
        ("memory", "3.7 of 8 GB", "a smaller model of it?"),
    ]
    assert ("cores", "8 instead of 6", "is it a device for jetson-orin-nano?") in mismatches(
        described(target, cores=8), target
    )
