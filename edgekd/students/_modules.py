"""Modules of a network by name: found, or refused with the nearest name, and replaced."""

from typing import TypeVar

from torch import nn

from edgekd.errors import BadInputError
from edgekd.plugins import nearest

M = TypeVar("M", bound=nn.Module)


def find(model: nn.Module, name: str, kind: type[M] | tuple[type[M], ...]) -> M:
    """The module called `name`; raises BadInputError with the nearest name unless it is of `kind`."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    wanted = " or ".join(each.__name__ for each in kinds)
    modules = dict(model.named_modules())
    module = modules.get(name)
    if isinstance(module, kinds):
        return module
    hint = nearest(name, [known for known, other in modules.items() if known and isinstance(other, kinds)])
    found = f"is a {type(module).__name__}, not" if module is not None else "names no"
    raise BadInputError(f"{name!r} {found} {wanted}{hint}")


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the one called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
