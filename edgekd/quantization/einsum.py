"""Einsum written as what every runtime knows: sums, transposes, products of matrices and of numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod

import numpy as np
from onnx import NodeProto

from edgekd.onnx_graph import Array, Graph, NodeWriter, attribute, label

DIGITS = "0123456789"  # the letters of an ellipsis, from the right
Shape = tuple[int | None, ...]
Sizes = dict[str, int | None]


@dataclass(frozen=True)
class Term:
    """An edge and a letter for each of its dimensions."""

    edge: str
    letters: str


def write_out_einsums(graph: Graph) -> None:
    """Replace every Einsum of known ranks that reads no diagonal and has one dimension of unknown size at most."""
    for node in [node for node in graph.nodes if node.op_type == "Einsum"]:
        shapes = [shape for edge in node.input if (shape := _shape(graph, edge)) is not None]
        read = _read(attribute(node, "equation").decode(), shapes) if len(shapes) == len(node.input) else None
        if read is not None:
            letters, result = read
            sizes = _sizes(zip(letters, shapes, strict=True))
            if list(sizes.values()).count(None) <= 1:
                _replace(graph, node, letters, shapes, sizes, result)


def _shape(graph: Graph, edge: str) -> Shape | None:
    return graph.constants[edge].shape if edge in graph.constants else graph.shapes.get(edge)


def _read(equation: str, shapes: Sequence[Shape]) -> tuple[list[str], str] | None:
    """The letters of each operand and of the result; None where one of them is there twice, or does not fit."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    hidden = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    if any(count < 0 or (count and "..." not in term) for term, count in zip(terms, hidden, strict=True)):
        return None
    letters = [term.replace("...", DIGITS[10 - count :]) for term, count in zip(terms, hidden, strict=True)]
    shown = DIGITS[10 - max(hidden) :]
    every = "".join(letters)
    if not arrow:
        result = "..." + "".join(sorted(letter for letter in set(every) - set(shown) if every.count(letter) == 1))
    if shown and "..." not in result:
        return None
    result = result.replace("...", shown)
    plain = all(len(set(term)) == len(term) for term in (*letters, result)) and set(result) <= set(every)
    return (letters, result) if plain else None


def _sizes(terms: Iterable[tuple[str, Shape]]) -> Sizes:
    """What each letter stands for; an operand of size one goes with any."""
    sizes = Sizes()
    for letter, size in chain.from_iterable(zip(*term, strict=True) for term in terms):
        if sizes.get(letter, 1) == 1 or (sizes[letter] is None and size not in (None, 1)):
            sizes[letter] = size
    return sizes


def _replace(graph: Graph, node: NodeProto, letters: list[str], shapes: list[Shape], sizes: Sizes, result: str) -> None:
    graph.remove(node)
    contraction = _Contraction(graph, label(node), sizes)
    operands = zip(node.input, letters, shapes, strict=True)
    made, *others = [contraction.without_ones(Term(edge, term), shape) for edge, term, shape in operands]
    for position, other in enumerate(others, 1):
        kept = set(result).union(*(term.letters for term in others[position:]))
        made = contraction.joined(made, other, kept)
    contraction.end(contraction.ordered(contraction.summed(made, set(result)), result), node)


class _Contraction:
    """Writes an equation operand by operand; `sizes` are those of its letters."""

    def __init__(self, graph: Graph, name: str, sizes: Sizes) -> None:
        self.graph, self.write, self.sizes = graph, NodeWriter(graph, name), sizes

    def without_ones(self, term: Term, shape: Shape) -> Term:
        """Without the dimensions of one that are repeated as often as others have it."""
        ones = [i for i, letter in enumerate(term.letters) if shape[i] == 1 and self.sizes[letter] != 1]
        left = "".join(letter for i, letter in enumerate(term.letters) if i not in ones)
        return Term(self.write("Squeeze", term.edge, _axes(ones)), left) if ones else term

    def summed(self, term: Term, kept: set[str]) -> Term:
        """Summed over the letters that nobody asks for."""
        over = [i for i, letter in enumerate(term.letters) if letter not in kept]
        left = "".join(letter for letter in term.letters if letter in kept)
        return Term(self.write("ReduceSum", term.edge, _axes(over), keepdims=0), left) if over else term

    def ordered(self, term: Term, letters: str) -> Term:
        """With its letters in another order."""
        if term.letters == letters:
            return term
        return Term(self.write("Transpose", term.edge, perm=[term.letters.index(each) for each in letters]), letters)

    def joined(self, first: Term, second: Term, kept: set[str]) -> Term:
        """The product of two, summed over what both have and nobody asks for; constants come second, as weights do."""
        if first.edge in self.graph.constants:
            first, second = second, first
        first = self.summed(first, kept | set(second.letters))
        second = self.summed(second, kept | set(first.letters))
        shared = [letter for letter in first.letters if letter in second.letters]
        both, inner = ("".join(each for each in shared if (each in kept) == asked) for asked in (True, False))
        left, right = _without(first.letters, shared), _without(second.letters, shared)
        if inner and (left or right):
            return self._matrices(first, second, (both, left, inner, right))
        letters = both + inner + left + right
        product = self.write("Mul", *(self._spread(term, letters) for term in (first, second)))
        return self.summed(Term(product, letters), kept)

    def _matrices(self, first: Term, second: Term, parts: tuple[str, str, str, str]) -> Term:
        """The rows are what follows the letters of both; what comes before them repeats the second matrices."""
        both, left, inner, right = parts
        leading = min((first.letters.index(each) for each in both), default=len(first.letters))
        before = "".join(each for each in left if first.letters.index(each) < leading)
        before, rows = (before, _without(left, before)) if before != left else (left[:-1], left[-1:])
        a = self._grouped(first, [*before, *both, rows, inner])
        b = self._grouped(second, [*both, inner, right])
        product, letters = self.write("MatMul", a, b), before + both + rows + right
        if len(rows) == len(right) == 1:
            return Term(product, letters)
        return Term(self.write("Reshape", product, self._target(letters)), letters)

    def _grouped(self, term: Term, groups: Sequence[str]) -> str:
        """With one dimension for each group of letters; an empty group is a dimension of one."""
        ordered = self.ordered(term, "".join(groups)).edge
        plain = all(len(group) == 1 for group in groups)
        return ordered if plain else self.write("Reshape", ordered, self._target(groups))

    def _target(self, groups: Iterable[str]) -> Array:
        known = [[self.sizes[letter] for letter in group] for group in groups]
        return _axes([-1 if None in group else prod(filter(None, group)) for group in known])

    def _spread(self, term: Term, letters: str) -> str:
        """In the order of letters, with dimensions of one for those after its first that it lacks."""
        ordered = self.ordered(term, "".join(each for each in letters if each in term.letters))
        first = min((letters.index(each) for each in term.letters), default=len(letters))
        lacking = [i - first for i, each in enumerate(letters) if i > first and each not in term.letters]
        return self.write("Unsqueeze", ordered.edge, _axes(lacking)) if lacking else ordered.edge

    def end(self, term: Term, node: NodeProto) -> None:
        """Let a term be what an Einsum made; the product is called as that was."""
        if not any(term.edge in maker.output for maker in self.write.nodes):
            self.write("Identity", term.edge)
        self.graph.set_output(self.write.nodes[-1], 0, node.output[0])
        products = [maker for maker in self.write.nodes if maker.op_type in {"MatMul", "Mul"}]
        (products or self.write.nodes)[-1].name = node.name


def _without(letters: str, shared: Sequence[str]) -> str:
    return "".join(letter for letter in letters if letter not in shared)


def _axes(values: Sequence[int]) -> Array:
    return np.array(values, np.int64)
