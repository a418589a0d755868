"""The link that somebody has to open, on the terminal: for another device as a QR code, too."""

import importlib.util
import io

from edgekd.screen import Screen


def invite(url: str, lan: bool, seconds: float) -> None:
    """Write it to stderr: stdout may be a document."""
    screen = Screen(stderr=True, highlight=False)
    where = "any browser in this network" if lan else "a browser on this machine"
    screen.print(f"waiting {seconds:g} s for {where} to open", soft_wrap=True)
    screen.print(f"  {url}", soft_wrap=True, markup=False)
    if lan and (code := qr_code(url)):
        screen.print(code, soft_wrap=True, markup=False)


def qr_code(text: str) -> str:
    """A code of half blocks, two rows in a line; empty without segno (the extra `web`)."""
    if importlib.util.find_spec("segno") is None:
        return ""
    import segno

    shown = io.StringIO()
    segno.make(text, error="l").terminal(out=shown, compact=True)
    return shown.getvalue()
