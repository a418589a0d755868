"""A device that answers otherwise than its bundle promises: refused before anything is made of it."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.devices import open_device
from edgekd.errors import DeviceError
from edgekd.measure import predict
from tests.measure.bundles import Array, MakeBundle, bundle, golden
from tests.small_run import complaint, edgekd

__all__ = ["bundle"]

# The real runner, whose outputs are changed by one statement before they are fetched.
ASTRAY = f"""#!{sys.executable}
import subprocess, sys
import numpy as np
code = subprocess.call([sys.executable, *sys.argv[1:]])
if "predict" in sys.argv:
    path = sys.argv[sys.argv.index("--output") + 1]
    (name, answers), = np.load(path).items()
    STATEMENT
sys.exit(code)
"""
WRONG = {
    "dict(other=answers)": "sent the outputs other; the bundle has logits",
    "{name: answers, 'more': answers}": "sent the outputs logits, more; the bundle has logits",
    "{}": "sent the outputs nothing; the bundle has logits",
    "{name: answers[:-1]}": "sent 'logits' as float32 (7, 10), not float32 (8, 10)",
    "{name: np.repeat(answers, 10, 1)[:, :99]}": "sent 'logits' as float32 (8, 99), not float32 (8, 10)",
    "{name: answers[..., None]}": "sent 'logits' as float32 (8, 10, 1), not float32 (8, 10)",
    "{name: answers.astype(np.float64)}": "sent 'logits' as float64 (8, 10), not float32",
}


def astray(folder: Path, statement: str) -> str:
    program = folder / "astray"
    program.write_text(ASTRAY.replace("STATEMENT", statement))
    program.chmod(0o755)
    return f"local:?python={program}"


def samples(folder: Path) -> Array:
    return golden(folder, "input:input")[:8]


@pytest.mark.parametrize("expression", WRONG)
def test_outputs_are_those_of_the_manifest(bundle: MakeBundle, tmp_path: Path, expression: str) -> None:
    folder = bundle("onnxruntime")
    uri = astray(tmp_path, f"np.savez(path, **{expression})")
    with closing(open_device(uri)) as device, pytest.raises(DeviceError) as caught:
        predict(device, folder, {"input": samples(folder)})
    assert WRONG[expression] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("answers[3, 1] = np.nan; np.savez(path, **{name: answers})", "not finite, first in sample 3"),
        ("open(path, 'wb').write(b'PK')", "sent predictions that are not a readable npz file"),
    ],
)
def test_the_command_ends_as_for_a_lost_device(bundle: MakeBundle, tmp_path: Path, statement: str, words: str) -> None:
    folder, data = bundle("onnxruntime"), tmp_path / "data.npz"
    np.savez(data, x=samples(folder), y=np.arange(8) % 10)
    device: Any = ("--device", astray(tmp_path, statement))
    for command in (("verify",), ("bench", "--replicates", 1, "--seconds", 0.01, "--count", 1)):
        assert words in complaint(edgekd(*command, folder, "--data", data, *device), 3)
