"""What a device is given, by what its Python says of itself; a real one is provisioned by `tests/devices`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from edgekd.devices import Device, Finished
from edgekd.errors import BadInputError, DeviceError
from edgekd.measure import provision as module
from edgekd.measure.device_python import INVENTORY, python_on
from edgekd.measure.provision import ABI, INSTALL, provision
from edgekd.measure.wheels import Platform
from edgekd.needs import Needs
from edgekd.runtimes import find_needs
from tests.measure.test_device_python import machine

NOT_THERE = Finished(0, "\n", "")


class Board:
    """Answers as a device's Python would; `asked` are the words behind the scripts that install."""

    def __init__(self, modules: dict[str, str], **facts: Any) -> None:
        self.uri, self.python, self.runner, self.pushed = "ssh://board", "python3", None, list[Path]()
        self.version = facts.pop("version", "3.11.2")
        self.abi = [facts.pop("kind", "CPython"), facts.pop("machine", "aarch64"), facts.pop("libc", "glibc 2.31")]
        self.inventory = {"modules": modules, "bits": 64, **facts}
        self.installs, self.asked = [NOT_THERE, Finished(0, "/home/pi/env/bin/python\n", "")], list[list[str]]()

    def facts(self) -> dict[str, Any]:
        return machine(self.version).model_dump()

    def push(self, folder: Path) -> str:
        self.pushed.append(folder)
        return "/pushed"

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        assert timeout >= 60
        script, words = argv[2], list(argv[3:])
        if script == INSTALL:
            self.asked.append(words)
            return self.installs[len(self.asked) - 1]
        return Finished(0, json.dumps({INVENTORY: self.inventory, ABI: self.abi}[script]), "")


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Platform, list[str]]]:
    """For which platforms wheels of what were asked."""
    asked = list[tuple[Platform, list[str]]]()
    (tmp_path / "pip-1-py3-none-any.whl").write_text("")

    def wheels_for(platform: Platform, requirements: Sequence[str]) -> Path:
        asked.append((platform, list(requirements)))
        return tmp_path

    monkeypatch.setattr(module, "wheels_for", wheels_for)
    return asked


def given(board: Board, *needs: Needs) -> bool:
    return provision(cast("Device", board), needs)


def test_a_device_that_lacks_nothing_or_brings_all_is_given_nothing() -> None:
    board = Board({"numpy": "2.0", "ncnn": "1.0"})
    assert not given(board, find_needs("ncnn"))
    board.runner = "/runner"  # type: ignore[assignment]
    assert not given(board, find_needs("openvino"))
    assert board.asked == []


@pytest.mark.parametrize("modules", [{}, {"numpy": "2.0"}, {"ncnn": "1.0"}])
def test_an_environment_is_made_of_wheels_that_are_sent(
    modules: dict[str, str], fetched: list[tuple[Platform, list[str]]], tmp_path: Path
) -> None:
    board = Board(modules)
    assert given(board, find_needs("ncnn"))
    assert fetched == [(Platform((3, 11), "aarch64", 31), ["numpy", "ncnn"])]
    assert board.python == "/home/pi/env/bin/python"
    (name,), made = board.asked
    assert made == [name, "/pushed", "pip-1-py3-none-any.whl"]
    assert board.pushed == [tmp_path]


def test_an_environment_that_is_there_serves_again(fetched: list[tuple[Platform, list[str]]]) -> None:
    board = Board({})
    board.installs = [Finished(0, "/home/pi/old/bin/python\n", "")]
    assert given(board, find_needs("ncnn"))
    assert (board.python, board.pushed, fetched) == ("/home/pi/old/bin/python", [], [])


@pytest.mark.parametrize(
    ("said", "reason"), [("a\nlast\n", "last"), ("", "no reason given"), (" \n", "no reason given")]
)
def test_why_nothing_was_installed_is_told(said: str, reason: str) -> None:
    board = Board({})
    board.installs = [Finished(1, "", said)]
    with pytest.raises(DeviceError, match=rf"^ssh://board: nothing was installed: {reason}"):
        given(board, find_needs("ncnn"))


@pytest.mark.parametrize("version", ["3.7.9", ""])
def test_an_old_python_cannot_be_helped(version: str) -> None:
    with pytest.raises(DeviceError, match="packages need Python 3.8 or newer there, and python3 is none"):
        given(Board({}, version=version), find_needs("ncnn"))


def test_what_comes_by_no_wheel_is_told_before_any_is_sought() -> None:
    with pytest.raises(DeviceError, match="comes by no wheel: "):
        given(Board({}, bits=32), find_needs("openvino"))


@pytest.mark.parametrize(
    ("bits", "there", "wheels"),
    [(64, "aarch64", "aarch64"), (32, "aarch64", "armv7l"), (32, "armv7l", "armv7l"), (64, "x86_64", "x86_64")],
)
def test_wheels_are_for_the_python_not_the_kernel(
    bits: int, there: str, wheels: str, fetched: list[tuple[Platform, list[str]]]
) -> None:
    board = Board({}, bits=bits, machine=there, libc="glibc 2.9")
    assert given(board, find_needs("tflite"))
    ((platform, requirements),) = fetched
    assert platform == Platform((3, 11), wheels, 9)
    assert requirements == (["numpy", "tflite-runtime", "numpy<2"] if bits == 32 else ["numpy", "ai-edge-litert"])


@pytest.mark.parametrize(
    "facts", [{"kind": "PyPy"}, {"libc": ""}, {"libc": "musl 1.2"}, {"libc": "glibc 2.1234"}, {"machine": "a b"}]
)
def test_a_python_without_wheels_is_told(facts: dict[str, str]) -> None:
    with pytest.raises(BadInputError, match="^ssh://board: there are no wheels for "):
        given(Board({}, **facts), find_needs("ncnn"))


@pytest.mark.parametrize("order", [1, -1])
def test_a_build_is_installed_without_the_plain_runtime(order: int, fetched: list[tuple[Platform, list[str]]]) -> None:
    needs = [find_needs("onnxruntime"), find_needs("onnxruntime", {"provider": "openvino"}), find_needs("ncnn")]
    assert given(Board({}), *needs[::order])
    ((_, requirements),) = fetched
    assert requirements == ["numpy", "ncnn", "onnxruntime-openvino"]


def test_a_python_that_fails_is_known_to_have_nothing() -> None:
    board = Board({"numpy": "2.0"})
    device, needs = cast("Device", board), [find_needs("ncnn")]
    assert python_on(device, machine(), needs).modules == {"numpy": "2.0"}
    board.run = lambda argv, timeout: Finished(1, '{"modules": {"numpy": "2.0"}}', "")  # type: ignore[method-assign]
    assert python_on(device, machine(), needs).modules == {}
