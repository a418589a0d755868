"""The machine: what it is, its cores, its memory and its page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set

from edgekd.runner.bundle import Bundle
from edgekd.runner.errors import RunnerError

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

VNNI = {"avx512_vnni", "avx_vnni"}


def machine() -> Dict[str, Any]:
    """What this runs on."""
    return {"cpu": cpu_name(), "cores": usable_cores(), "kernel": platform.release(), "arch": platform.machine()}


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores(text: str) -> List[int]:
    """`0,4-7` as numbers; RunnerError for anything else."""
    ranges = [re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part) for part in text.split(",")]
    bounds = [(int(found[1]), int(found[2] or found[1])) for found in ranges if found]
    if len(bounds) < len(ranges) or any(last < first for first, last in bounds):
        raise RunnerError("bad-input", "--affinity: {!r} names no cores: 4-7 or 0,2 would".format(text))
    return sorted({core for first, last in bounds for core in range(first, last + 1)})


def pin(wanted: Sequence[int]) -> None:
    """Keep this process, and the threads that it will make, on these cores."""
    if not hasattr(os, "sched_setaffinity"):
        raise RunnerError("bad-input", "--affinity: this system does not keep processes on cores")
    here = os.sched_getaffinity(0)
    absent = [str(core) for core in wanted if core not in here]
    if absent:
        told = "no core {} here: choose others by --affinity, of {}"  # a bundle names cores, too
        raise RunnerError("bad-input", told.format(", ".join(absent), ", ".join(map(str, sorted(here)))))
    os.sched_setaffinity(0, wanted)


def cpu_name() -> str:
    """The board's name, else the CPU's: ARM's cpuinfo names neither."""
    board = read_text("/proc/device-tree/model").rstrip("\0")
    if board:
        return board
    for line in read_text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware", "Model"):
            return value.strip()
    return platform.processor() or "unknown"


def cpu_flags() -> Set[str]:
    """What an x86 CPU under Linux says it can do; nothing elsewhere."""
    for line in read_text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            return set(value.split())
    return set()


def saturates(manifest: Dict[str, Any], arch: str, flags: Set[str]) -> bool:
    """Whether a bundle's int8 products, summed in pairs in int16 as x86 without VNNI does, may not fit there."""
    if manifest.get("precision") != "int8" or manifest.get("scheme") != "int8-asymmetric":
        return False
    return arch.lower() in ("x86_64", "amd64") and bool(flags) and not flags & VNNI


def in_float(backend: str) -> str:
    """What a runtime that computes in float there lets the user know."""
    told = "this CPU has no VNNI, int8 would saturate: computed in float; for int8 here, export for x86-{}-no-vnni"
    return told.format(backend)


class Memory:
    """What this process holds, in MB (10^6 bytes), and how much of its peak came after this was made."""

    def __init__(self) -> None:
        self.earlier, self.refused = status_mb("VmHWM"), ""
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again from VmRSS
        except OSError as error:
            self.refused = "the kernel does not reset a peak: {}".format(error.strerror)
        self.before = status_mb("VmRSS")

    def fields(self) -> Dict[str, Any]:
        """Of a `latency` record."""
        peak = status_mb("VmHWM")
        if peak is None or self.earlier is None or self.before is None:
            return {"peak_rss_mb": None, "model_rss_mb": None, "missing": {"model_rss_mb": "no /proc/self/status here"}}
        added, missing = (None, {"model_rss_mb": self.refused}) if self.refused else (max(0.0, peak - self.before), {})
        return {"peak_rss_mb": max(peak, self.earlier), "model_rss_mb": added, "missing": missing}


def status_mb(field: str) -> Optional[float]:
    """VmRSS, what this process holds, or VmHWM, the most that it held, in MB."""
    for line in read_text("/proc/self/status").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def uncached(bundle: Bundle) -> Optional[bool]:
    """Ask the kernel to forget the bundle's files, so that loading reads storage; None where nobody can tell."""
    cold = True
    for path in [path for path in bundle.folder.rglob("*") if path.is_file()]:
        try:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())  # what is not yet written would stay
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                cold = cold and not any(resident_pages(stream.fileno()))
        except (AttributeError, OSError, ValueError):
            return None
    return cold


def resident_pages(descriptor: int) -> bytes:
    """For each page of a file, whether it lies in the kernel's page cache."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY) as view:
        there = (ctypes.c_ubyte * -(-len(view) // mmap.PAGESIZE))()
        begin = ctypes.c_ubyte.from_buffer(view)
        status = ctypes.CDLL(None).mincore(ctypes.byref(begin), ctypes.c_size_t(len(view)), there)
        del begin  # the view closes only when nothing points into it
    if status != 0:
        raise OSError("mincore")
    return bytes(there)


def involuntary_switches() -> Optional[int]:
    """How often another process took this one's CPU; None where nobody counts."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else None


def load_average() -> Optional[float]:
    """Runnable processes over the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def read_text(path: str) -> str:
    """A file's text, or nothing."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
