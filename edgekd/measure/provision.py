"""A device gets what its runner lacks: a virtual environment of its own, with wheels from this machine, offline.

It stays on the device, named by what is in it, and serves the next session, too; `rm -r ~/.cache/edgekd` removes it.
"""

import json
import re
import shlex
from collections.abc import Collection

from edgekd.devices import Device
from edgekd.errors import BadInputError, DeviceError
from edgekd.measure.device_python import Python, is_jetson, python_on
from edgekd.measure.device_text import understanding
from edgekd.measure.facts import Machine, machine_facts
from edgekd.measure.wheels import Platform, name_of, pip_among, wheels_for
from edgekd.needs import Needs

LONGEST = 1800.0  # seconds to install: storage and processors of boards are slow
PIP = "{pip} install "
MACHINES = {"aarch64": "armv7l", "x86_64": "i686"}  # what a 32-bit Python runs on, and what its wheels are for
ABI = """
import json, platform
print(json.dumps([platform.python_implementation(), platform.machine(), " ".join(platform.libc_ver())]))
"""
INSTALL = """
import fcntl, os, shutil, subprocess, sys, venv
name, wheels, pip = (sys.argv[1:] + ["", ""])[:3]
def writable(base):
    try: os.makedirs(base, exist_ok=True)
    except OSError: return False
    return os.access(base, os.W_OK)
cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
bases = [os.path.join(cache, "edgekd"), "/data/local/tmp/.edgekd"]
base = next((b for b in bases if writable(b)), None)
if base is None: sys.exit("no folder to install into: tried " + " and ".join(bases))
home, part = os.path.join(base, "python-" + name), os.path.join(base, "python-" + name + ".part")
with open(os.path.join(base, ".lock"), "w") as lock:  # it goes with this process, however that ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not os.path.isdir(home):
        if not wheels: sys.exit()
        shutil.rmtree(part, ignore_errors=True)
        venv.EnvBuilder(symlinks=True).create(part)
        argv = [os.path.join(part, "bin", "python"), os.path.join(wheels, pip, "pip"), "install", "--quiet",
                "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--disable-pip-version-check",
                "--find-links", wheels, "--require-hashes", "-r", os.path.join(wheels, "requirements.txt")]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            shutil.rmtree(part, ignore_errors=True)
            sys.exit(done.stdout.decode(errors="replace").strip().splitlines()[-1])
        os.rename(part, home)
print(os.path.join(home, "bin", "python"))
"""


def provision(device: Device, needs: Collection[Needs]) -> bool:
    """Give a device the Python packages that are needed; whether it lacked any.

    Afterwards `device.python` is that of the environment. Raises DeviceError where no wheel could help, BadInputError
    where pip finds none for it.
    """
    if device.runner is not None:  # it brings all that it needs
        return False
    machine = machine_facts(device)
    python = python_on(device, machine, needs)
    if not python.new_enough:
        raise DeviceError(f"{device.uri}: packages need Python 3.8 or newer there, and {device.python} is none")
    if "numpy" in python.modules and all(each.found(python.modules) for each in needs):
        return False
    wanted = [word for each in _whole(needs) for word in _packages(device.uri, each, python, machine)]
    platform, requirements = _platform(device, python), list(dict.fromkeys(["numpy", *wanted]))
    name = name_of(platform, requirements)
    there = _environment(device, name)
    if not there:
        wheels = wheels_for(platform, requirements)
        there = _environment(device, name, device.push(wheels), pip_among(wheels))
    device.python = there
    return True


def _environment(device: Device, *words: str) -> str:
    """The Python of an environment by name, made of wheels that were pushed; without wheels empty where it is none."""
    done = device.run([device.python, "-c", INSTALL, *words], LONGEST)
    if done.code:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise DeviceError(f"{device.uri}: nothing was installed: {said[-1]}")
    return done.stdout.strip()


def _whole(needs: Collection[Needs]) -> list[Needs]:
    """In one order, without a runtime of which another build is needed: both would be one module."""
    built = {each.modules for each in needs if each.build}
    return sorted((each for each in needs if each.build or each.modules not in built), key=lambda each: each.package)


def _packages(uri: str, needs: Needs, python: Python, machine: Machine) -> list[str]:
    """What pip is to install, as the way for this device says."""
    way = needs.way(python.version, python.bits, is_jetson(machine)).told
    if not way.startswith(PIP):
        raise DeviceError(f"{uri}: {needs.title} comes by no wheel: {way.format(pip='pip', python='')}")
    return shlex.split(re.sub(r" \(.*\)$", "", way.removeprefix(PIP)))


def _platform(device: Device, python: Python) -> Platform:
    said = device.run([device.python, "-c", ABI], timeout=60).stdout
    with understanding(device.uri, "what its Python is"):
        kind, machine, libc = json.loads(said)
        found = re.fullmatch(r"glibc 2\.(\d{1,3})", libc)
        if kind != "CPython" or not found or not re.fullmatch(r"\w+", machine):
            raise BadInputError(f"{device.uri}: there are no wheels for {kind} with {libc or 'its C library'}")
    return Platform(python.version, MACHINES.get(machine, machine) if python.bits == 32 else machine, int(found[1]))
