"""A table that one sorts and filters on a page without scripts: one for each order, of which radio buttons show one."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from markupsafe import Markup

from edgekd.screen import visible

R = TypeVar("R")
SHOWN = 12  # rows; what is behind them is there for the asking


@dataclass(frozen=True)
class Column(Generic[R]):
    """What a column is called and what it says of a row; the first one names the row."""

    title: str
    text: Callable[[R], str]


@dataclass(frozen=True)
class Order(Generic[R]):
    """A way to sort: what its button says, the key, least first, and the column that it is by, if it is by one, and
    whether that falls.

    `value` is what bars are as long as; without a value there is none.
    """

    label: str
    key: Callable[[R], tuple[object, ...]]
    column: str = ""
    falls: bool = False
    value: Callable[[R], float | None] = lambda _: None


@dataclass(frozen=True)
class Filter(Generic[R]):
    """What rows may be told apart by."""

    legend: str
    value: Callable[[R], str]


@dataclass(frozen=True)
class Choice:
    """A radio button: its id, what it says and how many rows it leaves."""

    id: str
    label: str
    count: int | None = None


@dataclass(frozen=True)
class Choices:
    """Radio buttons of which the first is chosen."""

    legend: str
    name: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Line:
    """A row as it is shown; `bar` is a share of the longest, None for none."""

    cells: tuple[str, ...]
    bar: float | None
    classes: str


@dataclass(frozen=True)
class Sorted:
    """The rows in one order, the title of the column that it is by, and `descending` or `ascending`."""

    name: str
    column: str
    sense: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """A sortable table, as `macros.html.j2` draws it: buttons, and a table for each order."""

    id: str
    titles: tuple[str, ...]
    buttons: tuple[Choices, ...]
    orders: tuple[Sorted, ...]
    rows: int

    @property
    def style(self) -> Markup:
        """Rules that hide what is not chosen; a browser that does not know `:has` shows all of it."""
        orders = [f"#{self.id}:not(:has(#{one.name}:checked)) .{one.name}" for one in self.orders]
        filters = self.buttons[1:]
        chosen = [choice.id for one in filters for choice in one.choices[1:]]
        others = [f"#{self.id}:has(#{name}:checked) tbody tr:not(.{name})" for name in chosen]
        unfiltered = "".join(f":has(#{one.choices[0].id}:checked)" for one in filters)
        tail = f"#{self.id}{unfiltered}:not(:has(#{self.id}-all:checked)) .tail"
        return Markup(f"@supports selector(:has(a)) {{ {', '.join([*orders, *others, tail])} {{ display: none; }} }}")


@dataclass(frozen=True)
class Part:
    """A table of a page, with a heading and what is said below it."""

    head: str
    table: Table
    notes: tuple[str, ...] = ()


def sortable(
    name: str, rows: Sequence[R], columns: Sequence[Column[R]], orders: Sequence[Order[R]], filters: Sequence[Filter[R]]
) -> Table:
    """Return the rows in each order, the first of which is shown until another is chosen; `name` is the page's id."""
    kinds = {one: Counter(map(one.value, rows)) for one in filters}
    useful = {one: [*counts] for one, counts in kinds.items() if len(counts) > 1}
    buttons = [Choices("Sort by", f"{name}-by", tuple(Choice(f"{name}-by-{n}", o.label) for n, o in enumerate(orders)))]
    for number, (one, values) in enumerate(useful.items()):
        group = f"{name}-f{number}"
        named = [Choice(f"{group}-{at}", visible(value), kinds[one][value]) for at, value in enumerate(values, 1)]
        buttons.append(Choices(one.legend, group, (Choice(f"{group}-0", "all", len(rows)), *named)))

    def classes(row: R) -> list[str]:
        places = enumerate(useful.items())
        return [f"{name}-f{number}-{1 + values.index(one.value(row))}" for number, (one, values) in places]

    def lines(order: Order[R]) -> tuple[Line, ...]:
        longest = max((order.value(row) or 0.0 for row in rows), default=0.0) or 1.0
        ranked = sorted(rows, key=order.key)
        return tuple(
            Line(
                tuple(visible(column.text(row)) for column in columns),
                _bar(order.value(row), longest),
                " ".join([*classes(row), *(["tail"] if place >= SHOWN else [])]),
            )
            for place, row in enumerate(ranked)
        )

    found = tuple(
        Sorted(f"{name}-by-{n}", order.column, "descending" if order.falls else "ascending", lines(order))
        for n, order in enumerate(orders)
    )
    return Table(name, tuple(column.title for column in columns), tuple(buttons), found, len(rows))


def largest_first(label: str, value: Callable[[R], float | None], column: str = "") -> Order[R]:
    """Return the order that begins with the largest value; what is not known comes last."""
    return Order(label, lambda row: (value(row) is None, -(value(row) or 0.0)), column, True, value)


def smallest_first(
    label: str, value: Callable[[R], float | None], column: str = "", bar: Callable[[R], float | None] | None = None
) -> Order[R]:
    """Return the order that begins with the smallest value; what is not known comes last."""
    return Order(label, lambda row: (value(row) is None, value(row) or 0.0), column, False, bar or value)


def by_name(name: str) -> tuple[object, ...]:
    """A key by which layer 10 comes after layer 9."""
    return tuple(int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name)))


def _bar(value: float | None, longest: float) -> float | None:
    return None if value is None else round(max(value, 0.0) / longest, 3)
