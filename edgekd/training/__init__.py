"""Learning: one training loop, what it minimises, and the teacher's side of it."""

from edgekd.training.evaluate import evaluate, predict
from edgekd.training.loop import Trained, train
from edgekd.training.objectives import CrossEntropy, Distill
from edgekd.training.teacher import Teacher, Teachers, TeacherSource, teacher_taps
from edgekd.training.teacher_cache import CachedTeacher

__all__ = [
    "CachedTeacher",
    "CrossEntropy",
    "Distill",
    "Teacher",
    "TeacherSource",
    "Teachers",
    "Trained",
    "evaluate",
    "predict",
    "teacher_taps",
    "train",
]
