"""ARM cores that qemu-user can be, and what a Linux on them would say of itself in /proc and /sys."""

from dataclasses import dataclass
from pathlib import Path

BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32"
DOT_PRODUCT = f"{BASE} atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"

NEON = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"


@dataclass(frozen=True)
class Core:
    """`part` and `revision` are ARM's numbers of it, `features` the kernel's words (elf_hwcaps)."""

    part: str
    variant: int
    revision: int
    features: str
    architecture: int = 8


CORES = {
    "cortex-a7": Core("0xc07", 0, 5, NEON, architecture=7),
    "cortex-a53": Core("0xd03", 0, 4, f"{BASE} cpuid"),
    "cortex-a76": Core("0xd0b", 4, 1, DOT_PRODUCT),
}


def write_identity(root: Path, name: str, count: int) -> None:
    """Write in `root` that the machine has `count` cores of a kind.

    Programs choose their kernels by it: XNNPACK executes what it permits, and crashes where /proc and /sys do not agree
    on the number of cores.
    """
    core = CORES[name]
    entries = (
        f"processor\t: {number}\nBogoMIPS\t: 50.00\nFeatures\t: {core.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: {core.architecture}\nCPU variant\t: {core.variant:#x}\nCPU part\t: {core.part}\n"
        f"CPU revision\t: {core.revision}\n\n"
        for number in range(count)
    )
    numbers = f"0-{count - 1}\n" if count > 1 else "0\n"
    files = {"proc/cpuinfo": "".join(entries)}
    files |= {f"sys/devices/system/cpu/{name}": numbers for name in ("possible", "present", "online")}
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
