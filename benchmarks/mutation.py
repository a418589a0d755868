"""Mutants of Python source: one arithmetic operator, comparison, number or branch changed at a time."""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
CONNECTIVES: dict[type[ast.boolop], type[ast.boolop]] = {ast.And: ast.Or, ast.Or: ast.And}
# Texts, messages, types and declarations are not mutated.
UNTOUCHED = (ast.JoinedStr, ast.Raise, ast.Import, ast.ImportFrom, ast.Assert)
UNTOUCHED_FIELDS = {"annotation", "returns", "type_params", "decorator_list", "bases"}
Place = tuple[ast.AST, str, tuple[int, int], bool]


@dataclass(frozen=True)
class Mutant:
    """One change: where, and what becomes of what. `lines` are those of its statement, `scope` the function around."""

    path: str
    scope: str
    kind: str
    before: str
    after: str
    count: int  # of the same change in the same scope
    line: int
    lines: tuple[int, int]
    at_import: bool

    @property
    def package(self) -> str:
        """Of edgekd's."""
        return self.path.split("/")[1]

    @property
    def identity(self) -> str:
        """What stays when other code changes."""
        return f"{self.path}:{self.scope}: {self.before} → {self.after}" + (f" #{self.count}" if self.count else "")

    def rank(self, seed: int) -> str:
        """A number that orders mutants at random: a draw hardly changes when code elsewhere does."""
        return sha256(f"{seed} {self.identity}".encode()).hexdigest()


def mutants(path: str, source: str) -> Iterator[tuple[Mutant, Callable[[], str]]]:
    """Yield every mutant of a module, and what gives the whole module's source."""
    tree, seen = ast.parse(source), Counter[tuple[str, str, str]]()

    def whole(node: ast.AST, field: str, value: Any) -> str:
        with _changed(node, field, value):
            return ast.unparse(tree)

    for node, scope, lines, inside in list(_nodes(tree)):
        for kind, field, value in _changes(node):
            before = _text(node)
            with _changed(node, field, value):
                after = _text(node)
            count = seen[scope, before, after]
            seen[scope, before, after] += 1
            line = getattr(node, "lineno", lines[0])
            mutant = Mutant(path, scope, kind, before, after, count, line, lines, not inside)
            yield mutant, partial(whole, node, field, value)


def _nodes(tree: ast.Module) -> Iterator[Place]:
    """Yield what may be mutated: node, function or class around it, lines of its statement, whether a call runs it."""

    def walk(node: ast.AST, scope: str, lines: tuple[int, int], inside: bool) -> Iterator[Place]:
        if isinstance(node, UNTOUCHED) or _is_text(node):
            return
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
            lines = (node.lineno, end)
        yield node, scope, lines, inside
        named = isinstance(node, ast.FunctionDef | ast.ClassDef)
        within = f"{scope}.{node.name}".strip(".") if named else scope
        for field, value in ast.iter_fields(node):
            if field in UNTOUCHED_FIELDS:
                continue
            run = inside or (isinstance(node, ast.FunctionDef | ast.Lambda) and field == "body")
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, within, lines, run)

    yield from walk(tree, "", (1, 1), False)


def _is_text(node: ast.AST) -> bool:
    match node:
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.BinOp(left=ast.Constant(value=str()) | ast.JoinedStr()) | ast.BinOp(right=ast.JoinedStr()):
            return True
        case ast.Call(func=ast.Name(id=name)):
            return name in {"TypeVar", "NewType", "cast"} or name.endswith("Error")
    return False


def _changes(node: ast.AST) -> Iterator[tuple[str, str, Any]]:
    """Yield kind, field and its new value."""
    match node:
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in ARITHMETIC:
            yield "arithmetic", "op", ARITHMETIC[type(op)]()
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
            yield "arithmetic", "op", ast.UAdd()
        case ast.Compare(ops=[op]):
            yield "comparison", "ops", [COMPARISONS[type(op)]()]
        case ast.BoolOp(op=op):
            yield "branch", "op", CONNECTIVES[type(op)]()
        case ast.Constant(value=bool(value)):
            yield "constant", "value", not value
        case ast.Constant(value=int(value) | float(value)):
            yield "constant", "value", value + 1
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            yield "branch", "test", ast.UnaryOp(ast.Not(), test)
        case ast.comprehension(ifs=[test]):
            yield "branch", "ifs", [ast.UnaryOp(ast.Not(), test)]


@contextmanager
def _changed(node: ast.AST, field: str, value: Any) -> Iterator[None]:
    old = getattr(node, field)
    setattr(node, field, value)
    yield
    setattr(node, field, old)


def _text(node: ast.AST) -> str:
    """An expression, or what a statement decides by."""
    match node:
        case ast.If(test=test) | ast.While(test=test) | ast.comprehension(ifs=[test]):
            return f"if {ast.unparse(test)}"
    return ast.unparse(node)
