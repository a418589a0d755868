"""A real sshd whose Python has nothing: it gets an environment of wheels from here, by a real pip, without a network.

The packages are named as the real ones and hold next to nothing.
"""

import base64
import hashlib
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pip
import pytest

from edgekd.devices import open_device
from edgekd.errors import BadInputError, DamagedError
from edgekd.measure.provision import provision
from edgekd.runtimes import find_needs
from tests.devices.loopback import Loopback

pytestmark = pytest.mark.device
BOUGHT = {"numpy": "9.1", "ncnn": "9.2"}


def make_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> None:
    """As pip takes it: with a record of what is in it."""
    info = f"{name}-{version}.dist-info"
    tag = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files |= {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()}
    files |= {f"{info}/WHEEL": tag}
    sums = {path: base64.urlsafe_b64encode(hashlib.sha256(content).digest()) for path, content in files.items()}
    rows = [f"{path},sha256={sums[path].decode().rstrip('=')},{len(content)}" for path, content in files.items()]
    files |= {f"{info}/RECORD": "\n".join([*rows, f"{info}/RECORD,,"]).encode()}
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip looks instead of a network; this machine's own pip is among the wheels."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, version in BOUGHT.items():
        make_wheel(folder, name, version, {f"{name}/__init__.py": f"__version__ = {version!r}\n".encode()})
    own = Path(str(pip.__file__)).parent
    files = {f"pip/{path.relative_to(own)}": path.read_bytes() for path in own.rglob("*") if path.suffix != ".pyc"
             and path.is_file()}  # fmt: skip
    make_wheel(folder, "pip", pip.__version__, files)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def uri(sshd: Loopback) -> str:
    """A board whose Python has no packages at all."""
    bare = sshd.folder / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    return f"{sshd.uri}?python={bare}/bin/python"


def provisioned(uri: str) -> dict[str, str]:
    """What is there of the packages afterwards, in a session of its own."""
    with closing(open_device(uri)) as device:
        assert provision(device, [find_needs("ncnn")])
        assert not provision(device, [find_needs("ncnn")])  # its Python is another now, and lacks nothing
        told = device.run([device.python, "-c", "import numpy, ncnn; print(numpy.__version__, ncnn.__version__)"], 60)
        return dict(zip(BOUGHT, told.stdout.split(), strict=True))


def test_what_is_missing_comes_from_here_once(uri: str, sshd: Loopback, shop: Path, tmp_path: Path) -> None:
    place = sshd.folder / ".cache/edgekd"
    assert provisioned(uri) == BOUGHT
    (whole,) = place.glob("python-*")
    whole.rename(whole.with_name(f"{whole.name}.part"))  # as if it had been killed before the last step
    (whole.with_name(f"{whole.name}.part") / "bin/python").unlink()
    for wheel in shop.iterdir():
        wheel.unlink()
    assert provisioned(uri) == BOUGHT  # from the cache: the shop is empty
    assert list(place.glob("python-*")) == [whole]
    (cached,) = (tmp_path / "cache/edgekd/wheels").iterdir()
    for wheel in cached.iterdir():
        wheel.unlink()
    assert provisioned(uri) == BOUGHT  # it is still there: nothing is sent
    assert sshd.leftovers() == []


def test_a_wheel_that_has_changed_does_not_travel(uri: str, sshd: Loopback, shop: Path, tmp_path: Path) -> None:
    provisioned(uri)
    (whole,) = (sshd.folder / ".cache/edgekd").glob("python-*")
    whole.rename(tmp_path / "away")
    (wheel,) = (tmp_path / "cache").rglob("ncnn-*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with closing(open_device(uri)) as device, pytest.raises(DamagedError, match=r"ncnn-9\.2.*\.whl is damaged"):
        provision(device, [find_needs("ncnn")])
    assert not whole.exists()


def test_a_build_is_installed_alone_where_the_plain_runtime_is_needed_too(uri: str, shop: Path) -> None:
    """Both wheels would be one module."""
    lists = b"def get_available_providers(): return ['OpenVINOExecutionProvider', 'CPUExecutionProvider']\n"
    make_wheel(shop, "onnxruntime_openvino", "9.3", {"onnxruntime/__init__.py": lists})
    needs = [find_needs("onnxruntime"), find_needs("onnxruntime", {"provider": "openvino"})]
    with closing(open_device(uri)) as device:
        assert provision(device, needs)
        assert not provision(device, needs)


def test_a_device_with_a_runner_of_its_own_needs_nothing() -> None:
    with closing(open_device("web:?wait=1")) as page:
        assert not provision(page, [find_needs("onnxruntime")])


def test_a_package_without_a_wheel_is_one_line(uri: str, shop: Path, tmp_path: Path) -> None:
    next(shop.glob("ncnn-*.whl")).unlink()
    with closing(open_device(uri)) as device, pytest.raises(BadInputError, match="no wheels of numpy ncnn for CPython"):
        provision(device, [find_needs("ncnn")])
    assert not list((tmp_path / "cache/edgekd/wheels").glob("[!.]*"))
