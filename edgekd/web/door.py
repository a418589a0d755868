"""The door that listens: names, not paths, below one random token, to one page that works, until it is closed."""

import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekd.errors import BadInputError, DeviceError, DeviceLostError, DeviceOfflineError, DeviceTimeoutError
from edgekd.web.handler import Served, Server
from edgekd.web.messages import Failed, Gone, Hello, Message, read_message

PAGE = Path(__file__).with_name("page")
LOOPBACK = "127.0.0.1"
POLL = 20.0  # seconds that a page's question for work stays open
SILENCE = 45.0  # seconds after which a page that asked for nothing counts as gone
GRACE = 10.0  # seconds that an answer may come after the page itself should have given up
PARTING = 2.0  # seconds for the page to hear that it is over
CLOSING = 0.1  # seconds between two looks at whether to listen no longer
TOLD = 400  # characters of an error
LOOK = 0.5  # seconds between two looks at whether the browser still runs
Note = Mapping[str, str | int | float | bool | None]


class Door:
    """A listener on this machine alone or, `lan`, on its address in the local network. Any thread may call it."""

    def __init__(self, lan: bool = False) -> None:
        self._token = secrets.token_urlsafe(16)
        self._changed = threading.Condition()
        self._files: dict[str, bytes] = {}
        self._notes: list[Note] = []
        self._request: dict[str, Any] | None = None
        self._awaited = ""
        self._answer: tuple[Message, bytes] | None = None
        self._page: Hello | None = None
        self._heard, self._over, self._told = 0.0, False, False  # when the page last gave a sign
        host = lan_address() if lan else LOOPBACK
        self._server = Server(host, self._token, self, packed=lan)
        for path in PAGE.iterdir():
            self.offer("" if path.name == "index.html" else path.name, path.read_bytes())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(CLOSING,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What a browser has to open."""
        return f"http://{self._server.hosts[0]}/{self._token}/"

    def offer(self, name: str, content: bytes) -> None:
        """Serve something by a name."""
        self._files[name] = content

    def offers(self, name: str) -> bool:
        """Whether something is served by a name."""
        return name in self._files

    def withdraw(self, name: str) -> None:
        """Serve it no longer."""
        self._files.pop(name, None)

    def tell(self, **note: str | int | float | bool | None) -> None:
        """Let the page show something."""
        with self._changed:
            self._notes.append(note)
            self._changed.notify_all()

    def await_page(self, seconds: float, ended: Callable[[], str | None]) -> Hello:
        """The page that was opened; DeviceOfflineError if none was, DeviceLostError once `ended` says why."""
        self._wait(lambda: self._page is not None, seconds, ended)
        if self._page is None:
            told = f"no browser opened {self.url} within {seconds:g} s; ?wait=SECONDS waits longer"
            raise DeviceOfflineError(told, hint="edgekd devices")
        return self._page

    def ask(self, request: Mapping[str, Any], seconds: float, ended: Callable[[], str | None]) -> tuple[Message, bytes]:
        """The page's answer to one request; DeviceError with its own reason, DeviceLostError when it is gone."""
        with self._changed:
            self._awaited, self._answer = secrets.token_hex(8), None
            self._request = {"ask": self._awaited, "seconds": seconds, **request}
            self._changed.notify_all()
        self._wait(lambda: self._answer is not None or self._page is None, seconds + GRACE, ended)
        with self._changed:
            answer, self._request, self._awaited = self._answer, None, ""
            gone = self._page is None
        if gone or (answer and isinstance(answer[0], Gone)):
            raise DeviceLostError("the page was closed, or loaded again")
        if not answer:
            raise DeviceTimeoutError(f"the page gave no answer within {seconds:g} s")
        message, content = answer
        if isinstance(message, Failed):
            raise DeviceError(f"the browser: {message.error.removeprefix('the browser: ')}")
        return message, content

    def close(self) -> None:
        """Let the page say that it is over, then listen no longer."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
            if self._page is not None:
                self._changed.wait_for(lambda: self._told or self._page is None, PARTING)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def file(self, name: str) -> Served | None:
        """What is served by a name; `work` is a question that stays open until there is some."""
        if name == "work":
            return self._work()
        content = self._files.get(name)
        return None if content is None else Served(name or "index.html", content)

    def post(self, body: bytes) -> bool:
        """Take a message; False for one that nobody waits for. What is none ends what is waited for: BadInputError."""
        try:
            message, content = read_message(body)
        except BadInputError as error:
            message, content = Failed(kind="failed", ask=self._awaited, error=str(error)[:TOLD]), b""
            if not self._awaited:
                raise
        with self._changed:
            taken = self._take(message, content)
            self._changed.notify_all()
            return taken

    def _take(self, message: Message, content: bytes) -> bool:
        if isinstance(message, Hello):
            return self._seat(message)
        if isinstance(message, Gone):
            self._page = None
            if self._awaited:
                self._answer = (message, content)
            return True
        if not self._awaited or message.ask != self._awaited or self._answer:
            return False
        self._answer = (message, content)
        return True

    def _seat(self, page: Hello) -> bool:
        """One page works at a time; another one takes its place when it was silent for long."""
        silent = not self._awaited and time.monotonic() - self._heard > SILENCE
        if self._over or (self._page is not None and not silent):
            return False
        self._page, self._heard = page, time.monotonic()
        return True

    def _work(self) -> Served:
        """Notes and a request, or that it is over."""
        with self._changed:
            self._heard = time.monotonic() + POLL
            self._changed.wait_for(lambda: self._notes or self._request or self._over, POLL)
            found = {"notes": self._notes, "request": self._request, "over": self._over}
            self._notes, self._request, self._told = [], None, self._over
            self._heard = time.monotonic()
            self._changed.notify_all()
        return Served.document("work.json", found)

    def _wait(self, condition: Callable[[], bool], seconds: float, ended: Callable[[], str | None]) -> None:
        deadline = time.monotonic() + seconds
        with self._changed:
            while not condition() and (left := deadline - time.monotonic()) > 0:
                if self._over:
                    raise DeviceLostError("it was closed")
                if reason := ended():
                    raise DeviceLostError(reason)
                self._changed.wait(min(left, LOOK))


def lan_address() -> str:
    """This machine's address in its local network: that from which it would send; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: nobody's
            address = str(probe.getsockname()[0])
        except OSError as error:
            raise BadInputError(
                f"this machine is in no network ({error.strerror}): web: is for itself alone"
            ) from error
    if address.startswith("127."):
        raise BadInputError("this machine is in no network: web: is for itself alone")
    return address
