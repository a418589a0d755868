"""Learning: one training loop, what it minimises, and the teacher's side of it."""

from edgekd.training.evaluate import evaluate, predict
from edgekd.training.loop import Trained, train
from edgekd.training.objectives import Distill, LabelLoss
from edgekd.training.teacher import Teacher, Teachers, TeacherSource, teacher_taps
from edgekd.training.teacher_cache import CachedTeacher

__all__ = [
    "CachedTeacher",
    "Distill",
    "LabelLoss",
    "Teacher",
    "TeacherSource",
    "Teachers",
    "Trained",
    "evaluate",
    "predict",
    "teacher_taps",
    "train",
]
