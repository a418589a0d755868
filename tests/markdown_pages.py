"""The README and the pages of docs/: their snippets and links."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "SKILL.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")


class Snippet(NamedTuple):
    """A fenced block."""

    page: str
    language: str
    text: str


def snippets(*languages: str) -> list[Snippet]:
    """Blocks in some languages, of all pages."""
    found = [Snippet(page.name, *match.groups()) for page in PAGES for match in FENCE.finditer(page.read_text("utf-8"))]
    return [snippet for snippet in found if not languages or snippet.language in languages]


def commands(snippet: Snippet) -> list[str]:
    """The lines of a shell block that call edgekd."""
    lines = (line.removeprefix("$ ") for line in snippet.text.splitlines())
    return [line for line in lines if line.startswith("edgekd ")]


def anchors(page: Path) -> set[str]:
    """What a link may name in a page, as GitHub and mkdocs make it of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """Where a page's links and pictures lead, but for the web."""
    return [target for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))) if "://" not in target]
