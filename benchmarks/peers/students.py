"""The students that are quantised: float networks with their data, and the same ones fine-tuned for int8."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

import edgekd
from edgekd.data import Dataset, load, prepare
from edgekd.errors import BadInputError
from edgekd.pipeline.quantise import calibration
from edgekd.quantization import qat
from edgekd.quantization.scheme import find_scheme
from edgekd.recipe import Data, Model, Training
from edgekd.students import build_model
from edgekd.training.weights import load_weights

SCHEME = "int8-asymmetric"
TAUGHT = Path("runs/fashion-mnist")  # by `make fashion-mnist`
OWN = Path("runs/side-by-side")
TUNING = Training(epochs=1, learning_rate=0.003, precision="float32")


@dataclass(frozen=True, eq=False)
class Student:
    """A network and its data; `seeds` of them were trained, without `epochs` by `make fashion-mnist`."""

    name: str
    title: str
    data: str
    model: Model
    seeds: int
    fine_tuned: int
    epochs: int | None = None

    def dataset(self) -> Dataset:
        """Its data."""
        return _dataset(self.data)

    def example(self) -> torch.Tensor:
        """Two of its inputs."""
        data = self.dataset()
        return torch.from_numpy(prepare(data.val.inputs[:2], data.preprocessing))

    def calibration(self, draw: int) -> torch.Tensor:
        """512 training samples, another choice for each draw."""
        return torch.cat(calibration(self.dataset(), draw))

    def tests(self) -> np.ndarray[Any, Any]:
        """The test split as the model takes it."""
        return _tests(self.data)

    def trained(self, draw: int) -> nn.Module:
        """The float network, trained if it is not yet."""
        data, seed = self.dataset(), draw % self.seeds
        network = build_model(self.model, len(data.classes), data.train.inputs.shape[1:], seed=seed)
        if self.epochs is None:
            load_weights(network, _taught(self.name, seed) / "best.safetensors")
            return network.eval()
        training = Training(epochs=self.epochs, precision="float32")
        return edgekd.train(network, data, training=training, seed=seed, folder=OWN / f"{self.name}-{seed}").eval()

    def tuned(self, draw: int) -> onnx.ModelProto:
        """The network after fine-tuning in simulated int8: by `make fashion-mnist`, or here on labels."""
        seed = draw % self.seeds
        if self.name == "resnet8":
            return onnx.load(_taught(self.name, seed).parent / "onnx" / f"{SCHEME}.onnx")
        quantized = edgekd.quantize(
            self.trained(draw), SCHEME, self.dataset(),
            training=TUNING, seed=seed, folder=OWN / f"{self.name}-tuned-{seed}",
        )  # fmt: skip
        return qat.export_qdq(quantized.module, self.example(), find_scheme(SCHEME))

    def give(self, draw: int, folder: Path) -> Path:
        """A folder with all that a peer needs; written once."""
        place = folder / f"{self.name}-{draw}"
        if not place.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder) as scratch:
                given = Path(scratch) / "given"
                given.mkdir()
                network, example = self.trained(draw), self.example()
                onnx.save(qat.export_float(network, example), given / "model.onnx")
                batch = ({0: torch.export.Dim("batch")},)
                torch.export.save(torch.export.export(network, (example,), dynamic_shapes=batch), given / "model.pt2")
                np.save(given / "calibration.npy", self.calibration(draw).numpy())
                given.rename(place)
        return place


@cache
def _dataset(name: str) -> Dataset:
    return load(Data(name=name), 0)


@cache
def _tests(name: str) -> np.ndarray[Any, Any]:
    data = _dataset(name)
    return prepare(data.test.inputs, data.preprocessing)


def _taught(name: str, seed: int) -> Path:
    folder = TAUGHT / "teacher" if name == "resnet20" else TAUGHT / (f"seeds/{seed}" if seed else "") / "student"
    if not folder.is_dir():
        raise BadInputError(f"{folder} is not there: run `make fashion-mnist` first")
    return folder


def _resnet(depth: int) -> Model:
    return Model(model="resnet", options={"depth": depth})


STUDENTS = {
    student.name: student
    for student in (
        Student("resnet8", "ResNet-8", "fashion-mnist", _resnet(8), seeds=3, fine_tuned=3),
        Student("resnet20", "ResNet-20", "fashion-mnist", _resnet(20), seeds=1, fine_tuned=0),
        Student(
            "mobilenet", "MobileNetV2 × 0.35", "fashion-mnist",
            Model(model="mobilenet", options={"width": 0.35}), seeds=1, fine_tuned=1, epochs=5,
        ),
        Student("cnn1d", "1-D CNN", "watch-har", Model(model="cnn1d"), seeds=3, fine_tuned=3, epochs=20),
    )
}  # fmt: skip
