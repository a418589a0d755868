"""The command line as a document, for programs that write commands: `edgekd --help --json`."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import edgekd
from edgekd.terminal import EXIT_CODES

Examples = Mapping[str, Sequence[str]]


def command_line(group: Any, examples: Examples, name: str | None = None) -> dict[str, Any]:
    """All commands of a group, or one: arguments, options, examples, and what exit codes mean."""
    if name is not None:
        return _command(name, group.commands[name], examples)
    commands = [_command(name, command, examples) for name, command in group.commands.items()]
    codes = {str(code): meaning for code, meaning in EXIT_CODES.items()}
    return {"program": "edgekd", "version": edgekd.__version__, "exit_codes": codes, "commands": commands}


def _command(name: str, command: Any, examples: Examples) -> dict[str, Any]:
    kinds: dict[str, list[dict[str, Any]]] = {"argument": [], "option": []}
    for parameter in command.params:
        kinds[parameter.param_type_name].append(_parameter(parameter))
    return {
        "command": name, "help": (command.help or "").strip(), "examples": list(examples.get(name, ())),
        "arguments": kinds["argument"], "options": kinds["option"],
    }  # fmt: skip


def _parameter(one: Any) -> dict[str, Any]:
    """What there is to say; what is not so is left out."""
    kind, several = _kind(one.type_descriptor.annotation)
    choices = list(get_args(kind)) if get_origin(kind) is Literal else None
    default = one.default if isinstance(one.default, str | int | float) or one.default is None else str(one.default)
    found = {
        "name": one.name,
        "flags": [*one.opts, *one.secondary_opts] if one.param_type_name == "option" else None,
        "type": "choice" if choices else kind.__name__.lower(),
        "choices": choices,
        "default": default,
        "required": one.required or None,
        "several": several or None,
        "help": one.help,
    }
    return {key: value for key, value in found.items() if value is not None}


def _kind(annotation: Any) -> tuple[Any, bool]:
    """The type of one value, and whether there may be several."""
    return (get_args(annotation)[0], True) if get_origin(annotation) is list else (annotation, False)
