"""The same soft-label training by torchdistill and by edgekd, in turns; `distillation_speed.py` runs this and reads it.

Same teacher, student, initial weights, images, batch, epochs, loss, optimiser, learning rates, arithmetic and
validation after every epoch. torchdistill gets its own distillation box, losses and data loader; it has no cache, so
edgekd is measured with a live teacher too. The one difference left is how each orders samples and memory.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from torch.utils.data import RandomSampler, TensorDataset

from edgekd.data import Dataset, load, prepare
from edgekd.distillation.kd import KD
from edgekd.progress import SILENT
from edgekd.recipe import Data, Model, Training
from edgekd.students import build_model
from edgekd.training import CachedTeacher, Distill, LabelLoss, Teacher, TeacherSource, evaluate, train
from edgekd.training.schedule import learning_rate

DATA = Data(name="fashion-mnist-subset", limit=4000, views=1)
SETTINGS = Training(epochs=2, batch=128, weight_decay=0.0, precision="float32")
TEMPERATURE, LABELS, SOFT_LABELS = 4.0, 0.1, 0.9


def network(depth: int) -> nn.Module:
    """A ResNet for the data."""
    return build_model(Model(model="resnet", options={"depth": depth}), 10, (1, 28, 28))


def edgekd_training(student: nn.Module, teacher: nn.Module, data: Dataset, stored: bool) -> None:
    """A training by edgekd's loop."""
    with TemporaryDirectory() as folder:
        source: TeacherSource = Teacher(teacher, (), SETTINGS.precision)
        if stored:
            source = CachedTeacher(source, Path(folder), SILENT)
        methods = [KD(temperature=TEMPERATURE, weight=SOFT_LABELS)]
        objective = Distill(student, source, methods, cross_entropy=LABELS)
        train(student, data, DATA, SETTINGS, objective, Path(folder), seed=0, key="", reporter=SILENT)


def torchdistill_training(student: nn.Module, teacher: nn.Module, data: Dataset) -> None:
    """A training by torchdistill's distillation box, driven as its examples drive it."""
    from torchdistill.core.distillation import get_distillation_box

    images = torch.from_numpy(prepare(data.train.inputs, data.preprocessing))
    samples = TensorDataset(images, torch.from_numpy(data.train.labels))
    box = get_distillation_box(
        teacher, student, {"train": samples}, _box(len(samples)), torch.device("cpu"), [], False, 1
    )
    teacher.eval()
    for epoch in range(SETTINGS.epochs):
        box.pre_epoch_process(epoch=epoch)
        for inputs, targets, supplement in box.train_data_loader:
            box.pre_forward_process()
            loss = box.forward_process(inputs, targets, supplement)
            box.post_forward_process(loss=loss)
        box.post_epoch_process(metrics=evaluate(student, data, data.val))
    box.clean_modules()


def _box(samples: int) -> dict[str, Any]:
    steps = SETTINGS.epochs * (samples // SETTINGS.batch)
    loss = {
        "student_module_path": ".", "student_module_io": "output",
        "teacher_module_path": ".", "teacher_module_io": "output",
        "temperature": TEMPERATURE, "alpha": LABELS, "beta": SOFT_LABELS,
    }  # fmt: skip
    rates = {"lr_lambda": lambda step: learning_rate(min(step, steps - 1), steps, 1.0, SETTINGS.warmup)}
    descent = {"lr": SETTINGS.learning_rate, "momentum": SETTINGS.momentum, "nesterov": True}
    return {
        "num_epochs": SETTINGS.epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": {"batch_size": SETTINGS.batch, "drop_last": True},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": descent},
        "scheduler": {"key": "LambdaLR", "kwargs": rates, "scheduling_step": 1},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": 1.0}}},
        },
    }


def taught_teacher(data: Dataset, folder: Path) -> nn.Module:
    """A ResNet-20 after three epochs; trained once per folder."""
    settings = SETTINGS.model_copy(update={"epochs": 3})
    model = network(20)
    train(model, data, DATA, settings, LabelLoss(), folder / "teacher", seed=0, key="teacher", reporter=SILENT)
    return model


def import_torchdistill() -> torch.library.Library | None:
    """Import it once; what this returns must live as long as the process.

    torchdistill imports torchvision, whose compiled part fits one build of torch only. Its Python part is enough here,
    and asks no more than that these two operators are declared.
    """
    declared = None
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        declared = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchdistill.core.distillation  # noqa: F401

    return declared


def main() -> None:
    """Print seconds and accuracies as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the teacher is kept")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _operators = import_torchdistill()
    data = load(DATA, 0)
    teacher, student = taught_teacher(data, arguments.out), network(8)
    trainings = {
        "torchdistill": torchdistill_training,
        "edgekd stored": lambda *given: edgekd_training(*given, stored=True),
        "edgekd live": lambda *given: edgekd_training(*given, stored=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    accuracies: dict[str, list[float]] = {name: [] for name in trainings}
    for number in range(arguments.rounds):
        for name in list(trainings)[:: -1 if number % 2 else 1]:
            pupil, master = copy.deepcopy(student), copy.deepcopy(teacher)
            start = time.perf_counter()
            trainings[name](pupil, master, data)
            seconds[name].append(time.perf_counter() - start)
            accuracies[name].append(evaluate(pupil, data, data.test))
            print(f"{name}: {seconds[name][-1]:.1f} s, {accuracies[name][-1]:.4f}", file=sys.stderr)
    images = SETTINGS.epochs * len(data.train)
    json.dump({"images": images, "seconds": seconds, "test_accuracy": accuracies}, sys.stdout)


if __name__ == "__main__":
    main()
