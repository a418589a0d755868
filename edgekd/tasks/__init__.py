"""Tasks, one a file: what a model is taught, and how that is measured."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgekd import plugins
from edgekd.errors import BadInputError
from edgekd.parameters import checked, class_by_name, with_parameters
from edgekd.schema import TaskSpec
from edgekd.tasks._base import Task
from edgekd.tasks.classification import Classification

__all__ = ["DEFAULT", "Task", "find_task", "listed", "spec_of"]

DEFAULT: Task = Classification()  # what is taught where nobody says


def find_task(task: "str | Task", options: Mapping[str, Any] | None = None) -> Task:
    """Return a task by the name of its file here or by the user's `module:class`, or the user's own object, checked.

    Raises BadInputError for an unknown name, an unknown option, or a value of the wrong type or range.
    """
    if isinstance(task, str):
        kind = class_by_name(__name__, task, "task", lambda found: issubclass(found, Task))
        task = with_parameters(kind, options or {}, f"task {task!r}")
    if not isinstance(task, Task):
        raise BadInputError(f"task {task!r} is not an edgekd.tasks.Task")
    found: Task = checked(task)
    return found


def listed() -> list[dict[str, Any]]:
    """Return every built-in task with its metrics, the deciding one first, and its options' defaults."""
    found = {name: find_task(name) for name in plugins.names(__name__)}
    words = plugins.summaries(__name__)
    return [
        {
            "task": name,
            "what": words[name],
            "metrics": [metric.name for metric in task.metrics],
            "options": asdict(task),
        }
        for name, task in found.items()
    ]


def spec_of(task: Task) -> TaskSpec:
    """Return what `find_task` needs to make the task again."""
    kind, folder = type(task), f"{__name__}."
    module = kind.__module__
    own = f"{module}:{kind.__qualname__}"
    name = module.removeprefix(folder).replace("_", "-") if module.startswith(folder) else own
    return TaskSpec(name=name, options=asdict(task))
