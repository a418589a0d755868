"""An error ends with the command to type next."""

import shlex

import pytest
import typer

from edgekd.cli import app
from edgekd.errors import (
    BadInputError,
    DeviceError,
    DeviceOfflineError,
    MissingExtraError,
    MissingRuntimeError,
    NotProvenError,
    PromiseBrokenError,
)
from edgekd.next_step import next_step
from tests.small_run import complaint, edgekd


@pytest.mark.parametrize(
    ("words", "error", "step"),
    [
        (["run", "mine.toml"], BadInputError("x"), "edgekd run mine.toml --dry-run"),
        (["run", "mine.toml", "--dry-run"], BadInputError("x"), "edgekd run --help"),
        (["export", "a.onnx"], BadInputError("x"), "edgekd export --help"),
        (["export", "a.onnx"], BadInputError("x", hint="edgekd targets"), "edgekd targets"),
        (["export", "a.onnx"], BadInputError("x; see edgekd targets"), ""),
        (["export", "a.onnx"], MissingExtraError("openvino"), ""),
        (["bench", "b", "--device", "ssh://pi"], DeviceOfflineError("x"), "edgekd doctor --device ssh://pi"),
        (
            ["bench", "b", "--device", "ssh://pi"],
            MissingRuntimeError("x: pip install ncnn"),
            "edgekd bench b --device ssh://pi --provision",
        ),
        (["bench", "b", "--device", "ssh://pi", "--provision"], MissingRuntimeError("pip install ncnn"), ""),
        (["bench", "b", "--device", "web:"], MissingRuntimeError("x: edgekd web install"), ""),
        (["doctor", "--device", "ssh://pi"], DeviceOfflineError("x"), "edgekd devices"),
        (["verify", "b"], DeviceOfflineError("x"), "edgekd devices"),
        (["profile", "a.onnx"], DeviceError("InvalidArgument: no graph was found"), "edgekd doctor"),
        (["verify", "b"], NotProvenError("x"), ""),
        (["export", "a.onnx"], PromiseBrokenError("x"), ""),
    ],
)
def test_step_suits_the_error(words, error, step):
    assert next_step(words, error) == step


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("run fashion", "edgekd recipes"),
        ("run nowhere.toml", "edgekd init nowhere.toml"),
        ("export a.onnx --target pixel", "edgekd targets"),
        ("targets pixel", "edgekd targets"),
        ("bench nowhere", "edgekd export --help"),
        ("report nowhere", "edgekd run RECIPE"),
        ("doctor --device foo:", "edgekd devices"),
        ("compare a b", "edgekd compare --help"),
    ],
)
def test_an_error_ends_with_a_command_that_parses(command, step, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complaint(edgekd(*command.split()), 2).endswith(f" · next: {step}")
    _, name, *rest = shlex.split(step)
    if "--help" not in rest:
        typer.main.get_command(app).commands[name].make_context(name, rest)
