"""The runner for devices without Python as a wheel, with all that it needs: its loader, its libraries, their licences.

python export/c/ship.py [ARCH …]     # dist/edgekd_runner-*.whl, on Debian 12 with its cross compilers

TensorFlow Lite's library is that of a wheel on PyPI, checked by its hash. What it and the program need besides is found
as their compiler finds it, and taken from Debian's packages, whose licences are copied. `runner.json` in each folder
lists every file with its hash; that of the wheel is printed, as `pip install --require-hashes` takes it.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
BUILD = ROOT / "build" / "shipped"
COMPILERS = {"aarch64": "aarch64-linux-gnu-gcc", "armv7l": "arm-linux-gnueabihf-gcc", "x86_64": "x86_64-linux-gnu-gcc"}
PROGRAM, TFLITE, INDEX, LICENCES = "edgekd-runner", "libtensorflowlite_c.so", "runner.json", "LICENCES.txt"
WHEEL = "pymicro-wakeword 2.5.0"
INTERPRETER = re.compile(r"program interpreter: (\S+?)\]")
NEEDED = re.compile(r"\(NEEDED\)\s+Shared library: \[(.+)\]")
SOURCES = """\
The GNU C library (LGPL-2.1-or-later) and GCC's libraries (GPL-3.0 with the runtime library exception) are Debian's,
unchanged. Their sources: https://snapshot.debian.org/, under the package and version that runner.json names. Any of
these files may be replaced by another build of it: the program is linked to them when it starts, by its loader:
{loader} --library-path FOLDER FOLDER/edgekd-runner.
"""


def main(archs: list[str]) -> None:
    """Build, complete, and pack."""
    wheel = BUILD / "wheel"
    shutil.rmtree(wheel, ignore_errors=True)
    shutil.copytree(HERE / "wheel", wheel)
    for arch in archs:
        library = _tflite(arch)
        subprocess.run(["make", "--silent", "-C", ROOT, "runner", f"ARCH={arch}", f"TFLITE_C={library}"], check=True)
        complete(ROOT / "build" / "runner" / arch, arch)
        shutil.copytree(ROOT / "build" / "runner" / arch, wheel / "edgekd_runner" / arch)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    packed = BUILD / "packed"
    shutil.rmtree(packed, ignore_errors=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", packed, wheel], check=True)
    for path in packed.iterdir():
        (ROOT / "dist").mkdir(exist_ok=True)
        shutil.copy(path, ROOT / "dist")
        print(f"dist/{path.name} --hash=sha256:{_identity(path)['sha256']}")


def _tflite(arch: str) -> Path:
    """Of the wheel on PyPI."""
    folder = BUILD / "tflite" / arch
    library = folder / "pymicro_wakeword" / "lib" / TFLITE
    if not library.is_file():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        platform = ["--python-version", "3.11", "--only-binary", ":all:", "--platform", f"manylinux_2_35_{arch}"]
        hashed = ["--require-hashes", "--no-deps", "--requirement", HERE / "wheel" / "tflite.txt"]
        subprocess.run([*pip, "install", *platform, *hashed, "--target", folder], check=True)
    return library


def complete(folder: Path, arch: str) -> None:
    """Put into a folder of `make runner` what it needs, and write its index."""
    compiler = COMPILERS[arch]
    loader = Path(INTERPRETER.findall(_said("readelf", "-lW", folder / PROGRAM))[0]).name
    sources = {name: _by_compiler(compiler, name) for name in (*_libraries(folder, compiler), loader)}
    for name, source in sources.items():
        shutil.copyfile(source, folder / name)
    (folder / loader).chmod(0o755)
    packages = {_package(source) for source in sources.values()}
    _write_licences(folder / LICENCES, loader, sorted(packages))
    made_of = {package: _said("dpkg-query", "-W", "-f=${Version}", package) for package in sorted(packages)}
    made_of |= {"TensorFlow Lite": f"2.17.1, of PyPI's {WHEEL}"}
    files = {path.name: _identity(path) for path in sorted(folder.iterdir()) if path.name != INDEX}
    index = {"format": 1, "arch": arch, "loader": loader, "made_of": made_of, "files": files}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _libraries(folder: Path, compiler: str) -> list[str]:
    """All that the program and TensorFlow Lite need, and what those need."""
    found: dict[str, Path] = {}
    waiting = [folder / PROGRAM, folder / TFLITE]
    while waiting:
        for name in NEEDED.findall(_said("readelf", "-dW", waiting.pop())):
            if name not in found:
                found[name] = _by_compiler(compiler, name)
                waiting.append(found[name])
    return list(found)


def _by_compiler(compiler: str, name: str) -> Path:
    path = Path(_said(compiler, f"-print-file-name={name}").strip())
    if not path.is_absolute():
        sys.exit(f"{compiler} has no {name}: apt-get install the C++ library of its architecture")
    return path.resolve()


def _package(path: Path) -> str:
    """Debian's package that a file is of; the root file system may be part of /usr now."""
    for name in (path, Path("/", *path.parts[2:])):
        done = subprocess.run(["dpkg", "-S", str(name)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.partition(": ")[0].partition(":")[0]
    return sys.exit(f"{path} is of no package: its licence is not known")


def _write_licences(path: Path, loader: str, packages: list[str]) -> None:
    parts = [SOURCES.format(loader=loader)]
    parts += [
        f"==== {package} ====\n\n{Path('/usr/share/doc', package, 'copyright').read_text(encoding='utf-8')}"
        for package in packages
    ]
    apache, ours = Path("/usr/share/common-licenses/Apache-2.0"), ROOT / "LICENSE"
    parts += [
        f"==== {TFLITE}: TensorFlow Lite, of PyPI's {WHEEL} ====\n\n{apache.read_text(encoding='utf-8')}",
        f"==== {PROGRAM} ====\n\n{ours.read_text(encoding='utf-8')}",
    ]
    parts += [
        f"==== {name} ====\n\n{Path('/usr/share/common-licenses', name).read_text(encoding='utf-8')}"
        for name in ("LGPL-2.1", "GPL-3")
    ]
    path.write_text("\n\n".join(parts), encoding="utf-8")


def _identity(path: Path) -> dict[str, str | int]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _said(*argv: str | Path) -> str:
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main(sys.argv[1:] or list(COMPILERS))
