"""What a machine is: the identity without which a latency means nothing."""

from pydantic import Field

from edgekd.devices import Device
from edgekd.errors import DeviceError
from edgekd.schema import Schema

INTERESTING_FLAGS = {
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "asimdhp", "bf16", "fphp", "i8mm", "sme", "sve", "sve2"),
}
CPUFREQ = "/sys/devices/system/cpu/cpu0/cpufreq/"
BOARD, CPUINFO, MEMINFO = "/proc/device-tree/model", "/proc/cpuinfo", "/proc/meminfo"
GOVERNOR, FREQUENCY, MAX_FREQUENCY = (
    f"{CPUFREQ}{name}" for name in ("scaling_governor", "scaling_cur_freq", "cpuinfo_max_freq")
)
SECTION = "====edgekd "
SCRIPT = f"""
for path in {" ".join((BOARD, CPUINFO, MEMINFO, GOVERNOR, FREQUENCY, MAX_FREQUENCY))}
do echo; echo "{SECTION}$path"; cat "$path" 2>/dev/null | tr -d '\\000'; done
echo; echo "{SECTION}kernel"; uname -r
echo; echo "{SECTION}arch"; uname -m
echo; echo "{SECTION}cores"; nproc 2>/dev/null || getconf _NPROCESSORS_ONLN
echo; echo "{SECTION}python"; "$0" -c 'import platform; print(platform.python_version())' 2>/dev/null
true
"""


class Machine(Schema):
    """Identity and state of a machine; every None has its reason in `missing`. Memory is in 10^6 bytes."""

    cpu: str
    arch: str
    cores: int
    flags: tuple[str, ...]
    memory_mb: int | None
    kernel: str
    python: str | None
    governor: str | None
    frequency_mhz: float | None
    max_frequency_mhz: float | None
    missing: dict[str, str] = Field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str, int]:
        """What two latencies must share to be comparable."""
        return self.cpu, self.arch, self.cores


def machine_facts(device: Device) -> Machine:
    """Ask a device through its shell; raise DeviceError when it is lost."""
    said = sections(device.run(["sh", "-c", SCRIPT, device.python], timeout=60).stdout)
    if "python" not in said or not said["cores"].isdigit():
        raise DeviceError(f"{device.uri} did not say what machine it is")
    optional = {
        "memory_mb": _memory_mb(said[MEMINFO]),
        "python": said["python"] or None,
        "governor": said[GOVERNOR] or None,
        "frequency_mhz": _mhz(said[FREQUENCY]),
        "max_frequency_mhz": _mhz(said[MAX_FREQUENCY]),
    }
    sources = dict(zip(optional, (MEMINFO, "python", GOVERNOR, FREQUENCY, MAX_FREQUENCY), strict=True))
    return Machine.model_validate(
        {
            "cpu": _cpu(said[BOARD], said[CPUINFO]),
            "arch": said["arch"],
            "cores": int(said["cores"]),
            "flags": _flags(said[CPUINFO]),
            "kernel": said["kernel"],
            "missing": {name: f"no {sources[name]} here" for name, value in optional.items() if value is None},
            **optional,
        }
    )


def sections(text: str) -> dict[str, str]:
    """What a script wrote below each of its headings, which `SECTION` begins."""
    parts = (part.partition("\n") for part in text.split(SECTION)[1:])
    return {name: content.strip() for name, _, content in parts}


def _cpu(board: str, cpuinfo: str) -> str:
    """The board's name if there is one: ARM's cpuinfo often names neither CPU nor board."""
    fields = _fields(cpuinfo)
    return board or next((fields[key] for key in ("model name", "Hardware", "Model") if fields.get(key)), "unknown")


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
