"""Text on its way to a terminal: what would command it, or turn its order around, is shown escaped."""

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Return a text without a character that a terminal obeys: ESC is `\x1b`, a line feed `\n`."""
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1] if found[0] < "\x80" else _escaped(found[0]), text)


def visible_document(document: Any) -> Any:
    """Return a decoded JSON document with `visible` texts, keys among them."""
    if isinstance(document, dict):
        return {visible(key): visible_document(value) for key, value in document.items()}
    if isinstance(document, list):
        return [visible_document(value) for value in document]
    return visible(document) if isinstance(document, str) else document


def _escaped(character: str) -> str:
    return f"\\x{ord(character):02x}" if character < "\u0100" else f"\\u{ord(character):04x}"


class Screen(Console):
    """A console whose every text is visible; line breaks of the layout stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as a Console does, each segment escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_lines(segment.text), segment.style)


def _lines(text: str) -> str:
    return "\n".join(map(visible, text.split("\n")))
