"""What a machine is: the identity without which a latency means nothing."""

import re
from collections.abc import Mapping

from pydantic import Field, PositiveInt

from edgekd.devices import Device
from edgekd.errors import DeviceError
from edgekd.measure.device_text import understanding
from edgekd.schema import Amount, Count, Schema

INTERESTING_FLAGS = {
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "asimdhp", "bf16", "fphp", "i8mm", "sme", "sve", "sve2"),
}
CPUFREQ = "/sys/devices/system/cpu/cpu0/cpufreq/"
BOARD, CPUINFO, MEMINFO = "/proc/device-tree/model", "/proc/cpuinfo", "/proc/meminfo"
GOVERNOR, FREQUENCY, MAX_FREQUENCY = (
    f"{CPUFREQ}{name}" for name in ("scaling_governor", "scaling_cur_freq", "cpuinfo_max_freq")
)
KERNEL_ARCH, BINARY = "/proc/sys/kernel/arch", "/proc/thread-self/exe"  # qemu-user shows another /proc/self/exe
EMULATORS, VIRTUAL_CPUS = ("qemu-",), ("QEMU TCG CPU", "QEMU Virtual CPU")
NVIDIA = "nvidia-smi that works"
SIMULATED = ("ro.kernel.qemu", "ro.boot.qemu")
ANDROID = (  # no serial number, nothing of the owner's: results are published
    *("ro.product.manufacturer", "ro.product.model", "ro.soc.manufacturer", "ro.soc.model", "ro.board.platform"),
    *("ro.build.version.release", "ro.build.version.sdk", "ro.build.version.security_patch", "ro.build.fingerprint"),
)
SECTION = "====edgekd "
SCRIPT = f"""
for path in {" ".join((BOARD, CPUINFO, MEMINFO, GOVERNOR, FREQUENCY, MAX_FREQUENCY, KERNEL_ARCH))}
do echo; echo "{SECTION}$path"; cat "$path" 2>/dev/null | tr -d '\\000'; done
echo; echo "{SECTION}kernel"; uname -r
echo; echo "{SECTION}arch"; uname -m
echo; echo "{SECTION}binary"; readlink {BINARY} 2>/dev/null
echo; echo "{SECTION}cores"; (unset OMP_NUM_THREADS OMP_THREAD_LIMIT; nproc) 2>/dev/null || getconf _NPROCESSORS_ONLN
echo; echo "{SECTION}android"; for name in {" ".join((*ANDROID, *SIMULATED))}
do value=$(getprop "$name" 2>/dev/null); [ -z "$value" ] || echo "$name: $value"; done
echo; echo "{SECTION}gpu"; timeout 20 nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null
echo; echo "{SECTION}python"; "$0" -c 'import platform; print(platform.python_version())' 2>/dev/null
true
"""


class Machine(Schema):
    """Identity and state of a machine; every None has its reason in `missing`. Memory is in 10^6 bytes.

    `parts` are the numbers of ARM cores ("0xd0b" is a Cortex-A76), `android` are properties of the system by name.
    `gpu` are the names of NVIDIA's GPUs, with their driver's version in `gpu_driver`.
    `emulated`: another processor plays its instructions, so that what it computes counts, and how fast does not.
    """

    cpu: str
    arch: str
    cores: PositiveInt
    flags: tuple[str, ...]
    memory_mb: Count | None
    kernel: str
    python: str | None
    governor: str | None
    frequency_mhz: Amount | None
    max_frequency_mhz: Amount | None
    parts: tuple[str, ...] = ()
    android: dict[str, str] = Field(default_factory=dict)
    gpu: str | None = None
    gpu_driver: str | None = None
    emulated: bool = False
    missing: dict[str, str] = Field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str, int]:
        """What two latencies must share to be comparable."""
        return (f"{self.cpu}, {self.gpu}" if self.gpu else self.cpu), self.arch, self.cores


def machine_facts(device: Device) -> Machine:
    """Ask a device through its shell, or what stands in for one; raise DeviceError when it is lost."""
    with understanding(device.uri, "what it says of itself"):
        if (told := device.facts()) is not None:
            return Machine.model_validate(told)
    said = sections(device.run(["sh", "-c", SCRIPT, device.python], timeout=60).stdout)
    if "python" not in said or not said["cores"].isdigit():
        raise DeviceError(f"{device.uri} did not say what machine it is")
    with understanding(device.uri, "what it says of itself"):
        return _machine(device, said)


def _machine(device: Device, said: Mapping[str, str]) -> Machine:
    android, (gpu, driver) = _fields(said["android"]), _nvidia(said["gpu"])
    optional = {
        "memory_mb": _memory_mb(said[MEMINFO]),
        "python": None if device.runner else said["python"] or None,
        "governor": said[GOVERNOR] or None,
        "frequency_mhz": _mhz(said[FREQUENCY]),
        "max_frequency_mhz": _mhz(said[MAX_FREQUENCY]),
        "gpu": gpu,
        "gpu_driver": driver,
    }
    sources = dict(zip(optional, (MEMINFO, "python", GOVERNOR, FREQUENCY, MAX_FREQUENCY, *2 * [NVIDIA]), strict=True))
    missing = {name: f"no {sources[name]} here" for name, value in optional.items() if value is None}
    return Machine.model_validate(
        {
            "cpu": _cpu(said[BOARD] or _phone(android), said[CPUINFO]),
            "arch": said["arch"],
            "cores": int(said["cores"]),
            "flags": _flags(said[CPUINFO]),
            "parts": tuple(sorted(set(re.findall(r"^CPU part\s*:\s*(\w+)", said[CPUINFO], re.MULTILINE)))),
            "android": android,
            "kernel": said["kernel"],
            "emulated": _emulated(said, android),
            "missing": missing | ({"python": "its runner needs none"} if device.runner else {}),
            **optional,
        }
    )


def _emulated(said: Mapping[str, str], android: Mapping[str, str]) -> bool:
    """By the program that runs the device's programs, a kernel of another family, or what a simulator says of itself.

    A virtual machine whose instructions the processor itself runs is no emulation.
    """
    program, kernel = said["binary"].rpartition("/")[2], said[KERNEL_ARCH]
    foreign = bool(kernel) and ("86" in kernel) != ("86" in said["arch"])
    simulated = any(android.get(name) == "1" for name in SIMULATED)
    return foreign or simulated or program.startswith(EMULATORS) or any(name in said[CPUINFO] for name in VIRTUAL_CPUS)


def sections(text: str) -> dict[str, str]:
    """What a script wrote below each of its headings, which `SECTION` begins."""
    parts = (part.partition("\n") for part in text.split(SECTION)[1:])
    return {name: content.strip() for name, _, content in parts}


def _cpu(board: str, cpuinfo: str) -> str:
    """The board's name if there is one: ARM's cpuinfo often names neither CPU nor board."""
    fields = _fields(cpuinfo)
    return board or next((fields[key] for key in ("model name", "Hardware", "Model") if fields.get(key)), "unknown")


def _phone(android: dict[str, str]) -> str:
    """Such as `Google Pixel 9, Tensor G4`; nothing elsewhere."""
    name = f"{android.get('ro.product.manufacturer', '')} {android.get('ro.product.model', '')}".strip()
    return ", ".join(filter(None, (name, android.get("ro.soc.model"))))


def _nvidia(said: str) -> tuple[str | None, str | None]:
    """Names and driver; a tool that fails says so where its answer should be."""
    cards = re.findall(r"^(.+), ([\d.]+)$", said, re.MULTILINE)
    return (" + ".join(sorted(name for name, _ in cards)), cards[0][1]) if cards else (None, None)


def _flags(cpuinfo: str) -> tuple[str, ...]:
    fields = _fields(cpuinfo)
    return tuple(sorted(INTERESTING_FLAGS & set((fields.get("flags") or fields.get("Features") or "").split())))


def _memory_mb(meminfo: str) -> int | None:
    total = _fields(meminfo).get("MemTotal")
    return int(total.split()[0]) * 1024 // 10**6 if total else None


def _mhz(kilohertz: str) -> float | None:
    return int(kilohertz) / 1000 if kilohertz.isdigit() else None


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
