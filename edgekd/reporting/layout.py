"""Tables and facts that fit the terminal: nothing is cut off, and a line is broken at blanks alone."""

import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich import console as rich
from rich.cells import cell_len
from rich.text import Text

from edgekd.reporting.words import NONE
from edgekd.screen import visible

_LONGEST_KEY = 30  # beside values; a longer one stands above its own
Cell = Text | str | tuple[str, str]  # a tuple: words and their style
_GAP, _INDENT = 2, 2  # blanks between columns, blanks before what belongs to a line
_NARROWEST = 18  # of wrapped text
_DEEPEST = 4  # lines of a cell in a row of three columns or more, beyond which facts below each other read better


@dataclass(frozen=True)
class Facts:
    """Keys and values; values start in one column, or below their keys where that leaves them too little."""

    pairs: Sequence[tuple[str, Cell]]
    indent: int = 0

    def __rich_console__(self, console: rich.Console, options: rich.ConsoleOptions) -> rich.RenderResult:
        """Lay the pairs out in the console's width."""
        keys = [_text(key, "dim") for key, _ in self.pairs]
        column = max((key.cell_len for key in keys if key.cell_len <= _LONGEST_KEY), default=0) + _GAP
        room = options.max_width - self.indent - column
        for key, (_, value) in zip(keys, self.pairs, strict=True):
            fits = room >= _NARROWEST or _text(value).cell_len <= room
            if fits and key.cell_len < column:
                yield from _hang(key, _wrapped(_text(value), room), self.indent, column)
            else:
                yield _line(_blanks(self.indent), key)
                yield from indented(value, options.max_width, self.indent + _INDENT)


@dataclass(frozen=True)
class Section:
    """Rows that belong to one thing: a line about it, the rows, and remarks below them."""

    head: Cell | None
    rows: Sequence[Sequence[Cell]] = ()
    notes: Sequence[Cell] = ()


@dataclass(frozen=True)
class Grid:
    """Rows below titles, in sections; where the columns do not fit, each row becomes its first cell and facts below.

    Attributes:
        titles: of the columns.
        sections: their rows have a cell for each title.
        right: numbers of the columns that are aligned at their ends.
        caption: a last line.
    """

    titles: Sequence[str]
    sections: Sequence[Section]
    right: Collection[int] = field(default_factory=frozenset)
    caption: str = ""

    @classmethod
    def of(cls, titles: Sequence[str], rows: Sequence[Sequence[Cell]], right: Collection[int] = ()) -> "Grid":
        """A grid of one section without a head."""
        return cls(titles, [Section(None, rows)], right)

    def __rich_console__(self, console: rich.Console, options: rich.ConsoleOptions) -> rich.RenderResult:
        """Lay the rows out in the console's width."""
        headed = any(section.head is not None for section in self.sections)
        indent = _INDENT if headed else 0
        widths = self._widths(options.max_width - indent)
        if widths and any(self.titles):
            yield from self._row([_text(title, "dim") for title in self.titles], widths, indent)
        for section in self.sections:
            if section.head is not None:
                yield from _hang(Text(), _wrapped(_text(section.head), options.max_width - _INDENT), 0, 0, _INDENT)
            for row in section.rows:
                cells = list(map(_text, row))
                yield from (
                    self._row(cells, widths, indent) if widths else self._stacked(console, options, cells, indent)
                )
            for note in section.notes:
                yield from indented(note, options.max_width, indent)
        if self.caption:
            yield from indented(Text(self.caption, "dim"), options.max_width, 0)

    def fits(self, width: int) -> bool:
        """Return whether the columns stand beside each other in so many characters."""
        return bool(self._widths(width))

    def _widths(self, room: int) -> list[int]:
        """Of each column, or nothing where they do not fit; what is aligned right is never wrapped."""
        columns = [self._column(number) for number in range(len(self.titles))]
        natural = [max(map(cell_len, column), default=0) for column in columns]
        least = [
            wide if number in self.right or number == 0 else min(wide, max(_NARROWEST, _longest_word(column)))
            for number, (wide, column) in enumerate(zip(natural, columns, strict=True))
        ]
        room -= _GAP * (len(natural) - 1)
        if sum(least) > room:
            return []
        widths = _shared(natural, least, room)
        return [] if len(widths) > 2 and self._deepest(widths) > _DEEPEST else widths

    def _deepest(self, widths: Sequence[int]) -> int:
        """The lines of the tallest cell."""
        rows = (row for section in self.sections for row in section.rows)
        return max((len(_wrapped(_text(c), w)) for row in rows for c, w in zip(row, widths, strict=True)), default=0)

    def _column(self, number: int) -> list[str]:
        cells = (_text(row[number]).plain for section in self.sections for row in section.rows)
        return [visible(self.titles[number]), *cells]

    def _row(self, cells: Sequence[Text], widths: Sequence[int], indent: int) -> Iterator[Text]:
        wrapped = [_wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
        for number in range(max(map(len, wrapped))):
            line = _blanks(indent)
            for column, (lines, width) in enumerate(zip(wrapped, widths, strict=True)):
                cell = lines[number] if number < len(lines) else Text()
                blanks = _blanks(width - cell.cell_len)
                line.append_text(blanks + cell if column in self.right else cell + blanks).append(" " * _GAP)
            line.rstrip()
            yield _line(line)

    def _stacked(
        self, console: rich.Console, options: rich.ConsoleOptions, cells: Sequence[Text], indent: int
    ) -> rich.RenderResult:
        name, *rest = cells
        yield from indented(name, options.max_width, indent)
        told = [
            (title, cell) for title, cell in zip(self.titles[1:], rest, strict=True) if cell.plain not in ("", NONE)
        ]
        yield from Facts(told, indent + _INDENT).__rich_console__(console, options)


@dataclass(frozen=True)
class Beside:
    """Things side by side, a line for each key that one of them has; below each other where they do not fit.

    What a thing has several times of one key takes as many lines.
    """

    things: Sequence[Sequence[tuple[str, Cell]]]

    def __rich_console__(self, console: rich.Console, options: rich.ConsoleOptions) -> rich.RenderResult:
        """Lay the things out in the console's width."""
        columns = [dict(_numbered(pairs)) for pairs in self.things]
        most = Counter[str]()
        for column in columns:
            most |= Counter(name for name, _ in column)
        keys = [(name, number) for name, count in most.items() for number in range(count)]
        rows = [[_text(key[0], "dim"), *(column.get(key, "") for column in columns)] for key in keys]
        grid = Grid.of([""] * (1 + len(columns)), rows)
        if len(columns) > 1 and grid.fits(options.max_width):
            yield grid
            return
        for number, pairs in enumerate(self.things):
            if number:
                yield Text()
            yield Facts([pair for pair in pairs if _text(pair[1]).plain])


def _numbered(pairs: Iterable[tuple[str, Cell]]) -> Iterator[tuple[tuple[str, int], Cell]]:
    """Pairs whose keys say how often they were there before."""
    seen = Counter[str]()
    for key, cell in pairs:
        yield (key, seen[key]), cell
        seen[key] += 1


def indented(cell: Cell, width: int, indent: int) -> Iterator[Text]:
    """Lines of a text that begin `indent` blanks from the edge."""
    yield from _hang(Text(), _wrapped(_text(cell), width - indent), indent, 0)


def _hang(key: Text, lines: Iterable[Text], indent: int, column: int, further: int = 0) -> Iterator[Text]:
    """A key, and lines that begin `column` after its start; from the second one on `further` beyond it."""
    for number, line in enumerate(lines):
        before = key + _blanks(column - key.cell_len) if number == 0 else _blanks(column + further)
        yield _line(_blanks(indent), before, line)


def _wrapped(text: Text, width: int) -> list[Text]:
    """Lines of a text, broken at blanks: a word that is wider than the line stays whole."""
    lines, start = [], 0
    for line in textwrap.wrap(text.plain, max(1, width), break_long_words=False, break_on_hyphens=False):
        start = text.plain.index(line, start)
        lines.append(text[start : start + len(line)])
        start += len(line)
    return lines or [Text()]


def _shared(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths from `least` towards `natural`, as far as the room lasts: the column that lacks most grows first."""
    widths = list(least)
    for _ in range(min(room, sum(natural)) - sum(least)):
        widths[max(range(len(widths)), key=lambda number: natural[number] - widths[number])] += 1
    return widths


def _longest_word(texts: Iterable[str]) -> int:
    return max((cell_len(word) for text in texts for word in text.split(" ")), default=0)


def _text(cell: Cell, style: str = "") -> Text:
    if isinstance(cell, Text):
        return Text(shown, cell.style) if (shown := visible(cell.plain)) != cell.plain else cell
    words, style = cell if isinstance(cell, tuple) else (cell, style)
    return Text(visible(words), style)


def _blanks(count: int) -> Text:
    return Text(" " * max(0, count))


def _line(*parts: Text) -> Text:
    line = Text.assemble(*parts, no_wrap=True, overflow="ignore", end="\n")
    line.rstrip()
    return line
