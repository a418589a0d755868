"""The root of a phone: Android's folders, properties, shell (mksh) and tools (toybox), all arm64 under qemu-user.

Its adbd is the real one, in Debian's build for arm64; its C library is not Android's.
"""

import os
import subprocess
from pathlib import Path

from tests.devices.cores import write_identity
from tests.devices.namespaces import bind, mount

DEVICES = Path(__file__).parents[2] / ".devices"  # by tests/devices/install
SYSTEM, LIBRARIES = DEVICES / "phone", DEVICES / "adbd-arm64/usr/lib"
ADBD = "/apex/adbd/android-sdk/platform-tools/adbd"
TOYBOX, BUSYBOX = "/apex/system/bin/toybox", "/apex/system/bin/busybox"
CORE = "cortex-a76"
BEYOND_DEBIANS_TOYBOX = ("dd", "diff", "expr", "gzip", "more", "tr")  # Android's has them
ENVIRONMENT = {
    "PATH": "/product/bin:/system/bin",
    "LD_LIBRARY_PATH": "/apex/adbd/aarch64-linux-gnu/android",
    "QEMU_CPU": CORE,
}
PROPERTIES = {
    "ro.product.manufacturer": "edgekd",
    "ro.product.model": "emulated arm64 phone",
    "ro.soc.manufacturer": "QEMU",
    "ro.soc.model": f"qemu-user {CORE}",
    "ro.board.platform": "qemu",
    "ro.build.version.release": "14",  # adbd 34 is of Android 14
    "ro.build.version.sdk": "34",
    "ro.build.fingerprint": "edgekd/emulated/arm64:14/bookworm/1:userdebug/test-keys",
    "ro.boot.qemu": "1",
}
GETPROP = """\
#!/system/bin/sh
while IFS='=' read -r name value; do
  [ "$name" != "$1" ] || echo "$value"
done </system/build.prop
"""


def make_root(root: Path, programs: Path) -> None:
    """Fill `root`, an empty file system; `programs` is where the phone looks for programs first."""
    shown = {"apex/system": SYSTEM, "apex/adbd": LIBRARIES, "product/bin": programs, "dev": Path("/dev")}
    for name, source in shown.items():
        (root / name).mkdir(parents=True)
        bind(source, root / name)
    for name, target in {"lib": "apex/system/lib", "usr": "apex/system/usr", "bin": "system/bin"}.items():
        (root / name).symlink_to(target)
    _tools(root)
    write_identity(root, CORE, os.cpu_count() or 1)
    cpuinfo = (root / "proc/cpuinfo").rename(root / "cpuinfo")
    mount("proc", root / "proc", "proc")
    bind(cpuinfo, root / "proc/cpuinfo")


def _tools(root: Path) -> None:
    tools = root / "system/bin"
    tools.mkdir(parents=True)
    (tools / "sh").symlink_to("/apex/system/bin/mksh")
    applets = subprocess.run(["/usr/sbin/chroot", root, TOYBOX], check=True, capture_output=True, text=True).stdout
    for name in applets.split():
        (tools / name).symlink_to(TOYBOX)
    for name in BEYOND_DEBIANS_TOYBOX:
        (tools / name).symlink_to(BUSYBOX)
    (tools / "getprop").write_text(GETPROP)
    (tools / "getprop").chmod(0o755)
    (root / "system/build.prop").write_text("".join(f"{name}={value}\n" for name, value in PROPERTIES.items()))
