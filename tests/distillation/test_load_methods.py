"""Methods by the name of their file, or the user's own."""

import sys

import pytest
import torch

from edgekd.distillation import Context, Output, checked, load_methods
from edgekd.distillation.hint import Hint
from edgekd.distillation.kd import KD
from edgekd.errors import BadInputError
from edgekd.plugins import names

OWN = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Mean:
    weight: float = 0.5
    student_taps = ()
    teacher_taps = ()

    def __call__(self, student, teacher, context):
        return (student.logits - teacher.logits).abs().mean()
"""


def test_reads_the_recipes_entries():
    entries = (
        {"method": "kd", "temperature": 2.0, "standardize": True},
        {"method": "hint", "layers": {"stages.2": "layer3"}, "weight": 3.0},
    )
    assert load_methods(entries) == [KD(2.0, standardize=True), Hint({"stages.2": "layer3"}, 3.0)]


def test_methods_are_what_the_package_holds():
    assert {"hint", "kd"} <= set(names("edgekd.distillation"))
    assert all("method" not in name and "base" not in name for name in names("edgekd.distillation"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"method": "kdd"}, "unknown distillation method 'kdd'; did you mean 'kd'"),
        ({"method": "kd", "temprature": 4.0}, "unknown parameter 'temprature'; did you mean 'temperature'"),
        ({"method": "kd", "student_taps": []}, "unknown parameter 'student_taps'"),
        ({"method": "kd", "temperature": 0.0}, "temperature"),
        ({"method": "kd", "temperature": "hot"}, "temperature"),
        ({"method": "kd", "temperature": float("inf")}, "'kd': temperature: inf is not a finite number"),
        ({"method": "hint"}, "layers"),
        ({"method": "hint", "layers": {}}, "layers"),
        ({"method": "hint", "layers": "stages.2"}, "layers"),
        ({"method": "hint", "layers": {"stages.2": 2}}, "layers"),
        ({"method": "hint", "layers": {"a": "b"}, "weight": -1.0}, "weight"),
    ],
)
def test_a_wrong_entry_is_one_clear_line(entry, message):
    with pytest.raises(BadInputError, match=message) as caught:
        load_methods([entry])
    assert "\n" not in str(caught.value)


def test_the_users_own_method(tmp_path, monkeypatch):
    (tmp_path / "own_method.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        (method,) = load_methods([{"method": "own_method:Mean", "weight": 2.0}])
    finally:
        sys.modules.pop("own_method", None)
    context = Context(0, 1, torch.arange(1), torch.zeros(1, dtype=torch.long), torch.zeros(1, 1))
    assert method(Output(torch.ones(1, 2)), Output(torch.zeros(1, 2)), context).item() == 1.0
    assert method.weight == 2.0


def test_a_scripts_method_is_checked_as_a_recipes():
    assert checked(KD(temperature=2.0)) == KD(temperature=2.0)
    with pytest.raises(BadInputError, match="temperature"):
        checked(KD(temperature=-1.0))
    with pytest.raises(BadInputError, match="function is not a dataclass of hyper-parameters"):
        checked(lambda student, teacher, context: student.logits.sum())
