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
    UnfitInputsError,
)
from edgekd.next_step import OTHER_SAMPLES, next_step, next_step_for
from edgekd.reporting import last_line
from tests.small_run import complaint, edgekd

SPACED = "my things/a b"


@pytest.mark.parametrize(
    ("words", "error", "step"),
    [
        (["run", "mine.toml"], BadInputError("x"), "edgekd run mine.toml --dry-run"),
        (["run", "a b.toml", "--set", "sede=1"], BadInputError("x"), "edgekd run 'a b.toml' --set sede=1 --dry-run"),
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
        (["export", "a.onnx"], PromiseBrokenError("x"), "edgekd targets"),
        (["export", "a.onnx", "--random", "16"], UnfitInputsError("x"), "edgekd export a.onnx --calibration X.npz"),
        (["export", "a.onnx", "--calibration", "a.npz"], UnfitInputsError("x"), "edgekd export --help"),
        (
            ["export", "a.onnx", "--images", "d", "--target", "t"],
            NotProvenError("x", hint=OTHER_SAMPLES),
            "edgekd export a.onnx --target t --calibration X.npz",
        ),
        (["verify", "b"], PromiseBrokenError("x"), ""),
    ],
)
def test_step_suits_the_error(words, error, step):
    assert next_step(words, error) == step


@pytest.mark.parametrize(
    ("words", "told", "step"),
    [
        ("a.onnx", "it needs samples: --calibration X.npz with some inputs", "a.onnx --calibration X.npz"),
        ("a.onnx", "cut short after 60 s: --refine 240 gives it more time", "a.onnx --refine 240"),
        ("a.onnx --refine 60 --target t", "cut short: --refine 240 gives it more", "a.onnx --target t --refine 240"),
        ("a.onnx --refine=60", "cut short: --refine 240 gives it more", "a.onnx --refine 240"),
        ("a.onnx --shape x=1,2", "with --shape y=1,?, or --calibration X.npz", "a.onnx --shape x=1,2 --shape y=1,?"),
        ("a.onnx", "fix all: --set n=? --shape y=1,? (numbers for ?)", "a.onnx --set n=? --shape y=1,?"),
        ("a.onnx --rate 8", "--rate is for sounds: use --calibration X.npz", "a.onnx --rate 8 --calibration X.npz"),
        ("a.onnx --mixed 90", "--mixed 90: too near: --mixed 80 asks for less", "a.onnx --mixed 80"),
        ("a.onnx --size 6x", "--size '6x': expected 640", "--help"),
        ("a.onnx --set n", "a.onnx: --set 'n': expected a number", "--help"),
        ("a.onnx", "--ranges, --equalize are for float models", "--help"),
    ],
)
def test_options_that_an_error_gives_values_for_join_the_command(words, told, step):
    assert next_step(["export", *words.split()], BadInputError(told)) == f"edgekd export {step}"


def test_another_target_takes_the_place_of_the_one_that_refused():
    error = BadInputError("x", hint="edgekd export MODEL --target t2")
    assert next_step(["export", "a b.onnx", "--target", "t1", "--refine", "5"], error) == (
        "edgekd export 'a b.onnx' --refine 5 --target t2"
    )
    assert next_step(["run", "r.toml"], error) == "edgekd export MODEL --target t2"


@pytest.mark.parametrize(
    ("hint", "told", "step"),
    [
        ("edgekd export MODEL --target c", "x", "edgekd export m.onnx --refine 5 --target c"),
        ("", "cut short: --refine 20 gives it more time", "edgekd export m.onnx --target b --refine 20"),
        ("edgekd targets", "x", "edgekd targets"),
    ],
)
@pytest.mark.parametrize("words", ["--target a --target b --refine 5", "--target=a --target b --refine 5 --target=c"])
def test_one_of_several_targets_has_a_command_about_it_alone(words, hint, told, step):
    error = BadInputError(told, hint=hint)
    assert next_step_for(["export", "m.onnx", *words.split()], "b", error) == step


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("run fashion", "edgekd recipes"),
        ("run nowhere.toml", "edgekd init nowhere.toml"),
        ("export a.onnx --target pixel", "edgekd targets"),
        ("targets pixel", "edgekd targets"),
        ("bench nowhere", "edgekd bench --help"),
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


@pytest.mark.parametrize(
    "told",
    [
        last_line.of_dry_run({"faults": [], "seconds": None, "recipe": SPACED}),
        last_line.of_export({"status": "ok", "bundle": SPACED}),
        last_line.of_export(2 * [{"status": "ok", "bundle": SPACED}]),
        last_line.of_verify({"ok": True, "bundle": SPACED}),
        last_line.of_devices([{"device": SPACED}]),
        next_step(["run", SPACED], BadInputError("no")),
        next_step(["verify", "b", "--device", SPACED], DeviceError("no")),
    ],
)
def test_commands_to_type_next_keep_names_with_spaces_whole(told: str) -> None:
    assert SPACED in shlex.split(told[told.index("edgekd ") :])
