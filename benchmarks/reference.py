"""The reference of the Python API, written from signatures and docstrings; nothing of edgekd is imported."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "edgekd"
PUBLIC = {
    "api.py": ("train", "distill", "map_classes", "quantize", "compare", "Quantized", "Comparison"),
    "api_deploy.py": ("prepare", "freeze_observers", "recalibrate_batchnorm", "export", "evaluate", "benchmark"),
    "training/distiller.py": ("Distiller",),
    "recipe.py": ("Training", "Ramp"),
    "data/dataset.py": ("Dataset",),
    "data/streams.py": ("Sized",),
    "tasks/_base.py": ("Task",),
    "metrics/_base.py": ("Metric",),
}
Definition = ast.FunctionDef | ast.ClassDef


def reference() -> str:
    """One section for each public name: its signature, what it says of itself, and its public methods."""
    return "\n".join(_section(node, "###") for node in _public())


def _public() -> Iterator[Definition]:
    for file, names in PUBLIC.items():
        tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
        found = {node.name: node for node in tree.body if isinstance(node, Definition)}
        yield from (found[name] for name in names)


def _section(node: Definition, mark: str) -> str:
    doc = ast.get_docstring(node) or ""
    signature = _signature(node)
    parts = [f"{mark} {node.name}\n", f"```text\n{signature}\n```\n", f"{_prose(doc)}\n"]
    if isinstance(node, ast.ClassDef):
        parts += [_section(one, mark + "#") for one in node.body if _is_shown(one)]
    return "\n".join(parts)


def _is_shown(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and (node.name == "__call__" or not node.name.startswith("_"))


def _signature(node: Definition) -> str:
    """One parameter a line, as they are written; of a class its fields."""
    if isinstance(node, ast.ClassDef):
        lines = [ast.unparse(field) for field in node.body if isinstance(field, ast.AnnAssign) and _named(field)]
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        head = f"class {node.name}({bases})" if bases else f"class {node.name}"
        return "\n".join([head, *(f"    {line}" for line in lines)])
    given = ast.unparse(node.args)
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if len(given) <= 70:
        return f"{node.name}({given}){returned}"
    parts = [*_parameters(node.args)]
    return "\n".join([f"{node.name}(", *(f"    {part}," for part in parts), f"){returned}"])


def _named(field: ast.AnnAssign) -> bool:
    return isinstance(field.target, ast.Name) and not field.target.id.startswith("_")


def _parameters(given: ast.arguments) -> Iterator[str]:
    """As they are written, `*` before those that have to be named."""
    defaults = [None] * (len(given.args) - len(given.defaults)) + given.defaults
    yield from (_parameter(one, default) for one, default in zip(given.args, defaults, strict=True))
    if given.vararg or given.kwonlyargs:
        yield f"*{given.vararg.arg if given.vararg else ''}"
    yield from (_parameter(one, default) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True))
    if given.kwarg:
        yield f"**{_parameter(given.kwarg, None)}"


def _parameter(one: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(one.annotation)}" if one.annotation else ""
    return one.arg + kind + (f" = {ast.unparse(default)}" if default else "")


def _prose(doc: str) -> str:
    """A docstring as Markdown: its `Attributes:` and `Args:` become lists."""
    lines, listing = [], False
    for line in doc.splitlines():
        if line.rstrip() in ("Attributes:", "Args:", "Returns:", "Raises:"):
            lines.append(f"\n**{line.rstrip(':')}**\n")
            listing = True
        elif listing and line.startswith("    ") and not line.startswith("     "):
            name, colon, rest = line.strip().partition(":")
            lines.append(f"- `{name}`:{rest}" if colon else f"- {line.strip()}")
        else:
            listing = listing and (not line or line.startswith("    "))
            lines.append(line.strip() if not listing else f"  {line.strip()}".rstrip())
    return "\n".join(lines).strip()
