"""TFLite-Micro's own interpreter, asked through the runner: does it take the model, and how much memory is that?"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from edgekd.backends.tflite.convert import Converted
from edgekd.bundle import MANIFEST, Manifest, identify
from edgekd.errors import BadInputError
from edgekd.files import write_json
from edgekd.runner_source import write_runner
from edgekd.target import Target

MODEL = "model.tflite"
SECONDS = 300


def footprint(content: bytes, converted: Converted, target: Target) -> dict[str, int]:
    """`arena_bytes` and `flash_bytes` of a .tflite file; BadInputError, in TFLite-Micro's words, if it refuses it."""
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
        runner, folder = write_runner(target.backend, Path(scratch)), Path(scratch) / "bundle"
        folder.mkdir()
        (folder / MODEL).write_bytes(content)
        manifest = Manifest(
            name="model", target=target.name, precision="int8", model=MODEL, inputs=converted.inputs,
            outputs=converted.outputs, files=identify(folder, [MODEL]),
            **target.model_dump(include={"backend", "scheme", "batch", "threads", "runtime"}),
        )  # fmt: skip
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
        finished = subprocess.run(
            [sys.executable, str(runner), "build", str(folder)],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    records = {record.pop("record"): record for record in map(json.loads, filter(None, finished.stdout.split("\n")))}
    if not records.get("end", {}).get("ok"):
        raise BadInputError(records.get("end", {}).get("error") or "TFLite-Micro's interpreter crashed on the model")
    return dict(records["footprint"])
