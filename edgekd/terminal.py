"""What the command line says, and the exit codes that it ends with."""

import json
import math
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from edgekd.errors import EdgekdError
from edgekd.files import in_words
from edgekd.next_step import next_step
from edgekd.plugins import is_users, told
from edgekd.screen import Screen, visible

BAD_INPUT, DEVICE_LOST, NOT_PROVEN, OUR_BUG, INTERRUPTED = 2, 3, 4, 70, 130
EXIT_CODES = {
    0: "done",
    1: "a promise was not met: parity, a limit, a regression, a forged number",
    BAD_INPUT: "bad input, in one line",
    DEVICE_LOST: "a device or a runtime is lost or missing",
    NOT_PROVEN: "done, but not proven here, or in another precision than int8",
    OUR_BUG: "a bug of edgekd",
    INTERRUPTED: "interrupted; `run` goes on where it stopped",
}


class Commands(TyperGroup):
    """Maps every outcome of a command to an exit code and one line; no traceback without --debug."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Parse what stands before the command."""
        try:
            return super().make_context(*arguments, **settings)
        except Exception as error:
            raise _shown(error) from error.__cause__

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        ctx.obj = words = [*ctx._protected_args, *ctx.args]
        try:
            with _ended_as_by_ctrl_c():
                return super().invoke(ctx)
        except EdgekdError as error:
            step = next_step(words, error)
            message = f"{error.label}: {error}" + (f" · next: {step}" if step else "")
            raise complain(message, error.exit_code) from error
        except KeyboardInterrupt as error:
            resumes = "; the same command resumes" if ctx.invoked_subcommand == "run" else ""
            raise complain(f"interrupted{resumes}", INTERRUPTED) from error
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except OSError as error:  # a path that cannot be read or written, a full disk
            raise complain(f"error: {_place(error)}", BAD_INPUT) from error
        except Exception as error:
            if hasattr(error, "exit_code"):  # the parser's own: it shows the usage
                raise _shown(error) from error.__cause__
            if is_users(error):
                raise complain(f"error: your code fails: {told(error)} (--debug shows where)", BAD_INPUT) from error
            message = f"internal error: {type(error).__name__}: {error} (--debug shows where)"
            raise complain(message, OUR_BUG) from error


def _shown(error: Exception) -> Exception:
    """A parser's error, in which what was typed is visible."""
    if isinstance(getattr(error, "message", None), str):
        error.message = visible(error.message)  # type: ignore[attr-defined]
    return error


def finite(value: float | None) -> float | None:
    """Return an option's number, if it was given; nan and infinity, which pass its limits, are a usage error."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Clean up on SIGTERM and SIGHUP too, unless they are ignored or another one's business."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    mine = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def speaks() -> bool:
    """Whether this process prints: of several that train together, the main one."""
    return os.environ.get("RANK", "0") == "0"


def show(
    document: Any, as_json: bool, table: Callable[[Any], Any] | None = None, last: Callable[[Any], str] | None = None
) -> None:
    """One JSON document, or a table for people (keys and values, unless there is a better one) and a `last` line."""
    if not speaks():
        return
    if as_json:
        typer.echo(json.dumps(document, indent=2).replace("\x7f", "\\u007f"))
        return
    from edgekd.reporting.tables import plain

    Screen().print((table or plain)(document), crop=False)
    if last is not None:
        say("")
        say(last(document))


def _place(error: OSError) -> str:
    return f"{error.filename}: {in_words(error)}" if error.filename else in_words(error)


def say(line: str) -> None:
    """One line as it is."""
    Screen(soft_wrap=True).print(line, markup=False, highlight=False)


def note(line: str) -> None:
    """Print one line on standard error, where no document is."""
    if speaks():
        Screen(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False)


def complain(message: str, code: int) -> typer.Exit:
    """Say what went wrong, on standard error; what to raise."""
    if os.environ.get("EDGEKD_DEBUG"):
        for line in traceback.format_exc().split("\n"):
            typer.echo(visible(line), err=True)
    if not speaks():
        return typer.Exit(code)
    style = "yellow" if code in (NOT_PROVEN, INTERRUPTED) else "red"
    Screen(stderr=True, soft_wrap=True).print(visible(message), style=style, markup=False, highlight=False)
    return typer.Exit(code)
