"""`edgekd init`: a commented recipe and, where a model or data of one's own are to come, the module that it names."""

import ast
import importlib.util
import json
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shlex import quote

from edgekd import data, plugins
from edgekd.errors import BadInputError
from edgekd.files import write_bytes
from edgekd.plugins import nearest
from edgekd.reading import reading
from edgekd.recipe import Recipe
from edgekd.target import load_target
from edgekd.user_code import check_reference

STARTERS, STUDENTS, MODULE = "edgekd.starters", "edgekd.students", "mine"
TARGET = "x86-onnxruntime"  # runs on this machine with nothing but the base install
HERE = ("x86-", "tflm-")  # targets that this machine can stand for


@dataclass(frozen=True)
class Wishes:
    """What a recipe is to be for; what is None is written as an example, to be replaced.

    Attributes:
        task: one of `tasks()`.
        model: the teacher: `module:function`, or a built-in network, of which the student is a narrower one.
        data: an .npz file, a folder of images, a built-in data set, or `module:function`.
        targets: their names.
    """

    task: str = "images"
    model: str | None = None
    data: str | None = None
    targets: tuple[str, ...] = (TARGET,)


def tasks() -> dict[str, str]:
    """Return what there is a starter for, each with a line about it."""
    return plugins.summaries(STARTERS)


def write_starter(path: Path, wishes: Wishes) -> list[Path]:
    """Write the recipe, and `mine.py` beside it where it names that; return what was written.

    Raises BadInputError for a task, model, data set or target that there is not, for what would be no recipe, and
    rather than overwrite a file.
    """
    if path.suffix != ".toml":
        raise BadInputError(f"{path}: a recipe's file ends in .toml", hint=f"edgekd init {quote(f'{path}.toml')}")
    if wishes.task not in tasks():
        raise BadInputError(f"unknown task {wishes.task!r}{nearest(wishes.task, tasks())}")
    texts = {path: _recipe(path, wishes)}
    _require_recipe(path, texts[path])
    if f'"{MODULE}:' in texts[path]:
        texts[path.with_name(f"{MODULE}.py")] = _starter(f"{wishes.task}.py")
    for place in texts:
        if place.exists():
            raise BadInputError(f"{place} exists", hint=f"edgekd init {quote(str(path.parent / 'new' / path.name))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    for place, text in texts.items():
        write_bytes(place, text.encode())
    return [*texts]


def _recipe(path: Path, wishes: Wishes) -> str:
    """The task's starter with what is wished for in its place."""
    text = _starter(f"{wishes.task}.toml").replace("RECIPE", quote(str(path)))
    text = _replaced(r"(?m)^()targets = .*?\]", f"targets = [{', '.join(map(_quoted, wishes.targets))}]", text)
    text = _replaced(r"(?s)(\n\[devices\][^\n]*\n).*", _devices(wishes), text)
    if wishes.data is not None:
        text = _replaced(r"(\n\[data\]\n)name[^\n]*", _data(wishes.data), text)
    for section, lines in _networks(wishes.model).items():
        text = _replaced(rf"(\n\[{section}\]\n)model[^\n]*(\noptions[^\n]*)?", lines, text)
    return text


def _replaced(pattern: str, lines: str, text: str) -> str:
    """What comes behind the pattern's first group, replaced; a backslash is one."""
    return re.sub(pattern, lambda found: found[1] + lines, text)


def _quoted(text: str) -> str:
    """A string of TOML's; those of JSON are, but for letters that it writes as two halves."""
    return json.dumps(text, ensure_ascii=False)


def _require_recipe(path: Path, text: str) -> None:
    with reading(str(path), "valid TOML"):
        document = tomllib.loads(text)
    for reference in Recipe.parse({"name": path.stem} | document, str(path)).code:
        check_reference(reference)


def _starter(name: str) -> str:
    return files(STARTERS).joinpath(name).read_text(encoding="utf-8")


def _devices(wishes: Wishes) -> str:
    lines = []
    for name in wishes.targets:
        load_target(name)
        key = name if re.fullmatch(r"[\w-]+", name, re.ASCII) else _quoted(name)
        example = f'# {key} = "ssh://user@host"     # or "adb://SERIAL"'
        lines.append(f'{key} = "local:"' if name.startswith(HERE) else example)
    return "\n".join([*lines, ""])


def _data(name: str) -> str:
    if name.endswith(".npz"):
        return f'name         = "npz"\npath         = {_quoted(name)}'
    if Path(name).is_dir():
        return f'name         = "image-folder"\npath         = {_quoted(name)}'
    if ":" not in name and name not in data.names():
        raise BadInputError(f"data {name!r}: no .npz, no folder, no module:function{nearest(name, data.names())}")
    return f"name         = {_quoted(name)}"


def _networks(model: str | None) -> dict[str, str]:
    """The lines of the teacher and, if that is a built-in network, of a student half as wide."""
    if model is None:
        return {}
    if ":" in model:
        return {"teacher": f"model    = {_quoted(model)}"}
    width = _width(model)
    lines = [f'model    = "{model}"\noptions  = {{ width = {value} }}' for value in (width, width / 2)]
    return dict(zip(("teacher", "student"), (line.replace(".0 }", " }") for line in lines), strict=True))


def _width(model: str) -> float:
    """The default width of a built-in network, read and not imported, for that takes torch."""
    known = [name for name in plugins.names(STUDENTS) if (width := _default_width(name)) is not None]
    if model not in known:
        raise BadInputError(f"model {model!r}: no module:function{nearest(model, known)}")
    width = _default_width(model)
    assert width is not None
    return width


def _default_width(model: str) -> float | None:
    spec = importlib.util.find_spec(STUDENTS)
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    tree = ast.parse((folder / f"{model.replace('-', '_')}.py").read_text(encoding="utf-8"))
    build = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "build"), None)
    if build is None:
        return None
    named = dict(zip([found.arg for found in build.args.args][::-1], build.args.defaults[::-1], strict=False))
    default = named.get("width")
    return (
        float(default.value) if isinstance(default, ast.Constant) and isinstance(default.value, int | float) else None
    )
