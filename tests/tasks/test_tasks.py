"""Tasks by the name of their file, or the user's own."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from edgekd.errors import BadInputError
from edgekd.plugins import names
from edgekd.tasks import find_task, spec_of
from edgekd.tasks.classification import Classification
from edgekd.tasks.sentence_pairs import SentencePairs


@pytest.mark.parametrize("name", names("edgekd.tasks"))
def test_a_task_is_told_and_found_again(name: str) -> None:
    task = find_task(name)
    spec = spec_of(task)
    assert spec.name == name
    assert find_task(spec.name, spec.options) == task
    assert task.metric.name


def test_no_task_imports_torch() -> None:
    """Not until its loss is called."""
    code = (
        "import sys; sys.modules['torch'] = None\nfrom edgekd.plugins import names\nfrom edgekd.tasks import find_task"
    )
    code += "\nprint([find_task(name).metrics[0].name for name in names('edgekd.tasks')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("pairs", {}, "unknown task 'pairs'; known: "),
        ("classification", {"smoothing": 1}, "unknown parameter 'smoothing'; did you mean 'label_smoothing'?"),
        ("classification", {"label_smoothing": -1}, "label_smoothing"),
        (Classification(label_smoothing=-1), None, "label_smoothing"),
        (object(), None, "is not an edgekd.tasks.Task"),
        ("edgekd.tasks:find_task", {}, "is not a dataclass"),
    ],
)
def test_a_wrong_task_is_one_clear_line(task: object, options: dict[str, object] | None, words: str) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        find_task(task, options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_groups_stay_together_in_a_split() -> None:
    from edgekd.data.dataset import Split, limit, split_validation

    rows = np.arange(40)
    train = Split(rows[:, None], (rows // 2).astype(np.float32))
    for split in (*split_validation(train, 0.2, task=SentencePairs()), limit(train, 12, 0, 2)):
        assert len(split) in (32, 8, 12)
        np.testing.assert_array_equal(split.labels[::2], split.labels[1::2])


@dataclass(frozen=True)
class Untaught(Classification):
    """A user's own."""


def test_a_users_own_task_is_told_by_its_module() -> None:
    assert spec_of(Untaught()).name == f"{__name__}:Untaught"
