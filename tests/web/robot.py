"""A page that is no browser: it speaks the page's protocol, and says what a test wants it to say."""

import http.client
import json
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import numpy as np

HELLO = {
    "kind": "hello", "agent": "Robot/1", "platform": "nowhere", "cores": 2, "memory_gib": None, "isolated": True,
    "secure": True, "gpu": None,
}  # fmt: skip
Request = Mapping[str, Any]
Answer = tuple[dict[str, Any], bytes]


def loaded(**more: object) -> Answer:
    return {"kind": "loaded", "ms": 5.0, "threads": 1, "clock_ms": 0.005, "gpu": None, **more}, b""


def outputs(*arrays: np.ndarray[Any, Any]) -> Answer:
    header = {"dtypes": [array.dtype.name for array in arrays], "shapes": [list(array.shape) for array in arrays]}
    return {"kind": "outputs", **header}, b"".join(array.tobytes() for array in arrays)


def timed(**more: object) -> Answer:
    header = {"first_ms": 3.0, "samples_ms": [1.0] * 20, "block": 1, "warm_load_ms": 2.0, "hidden": False}
    return {"kind": "timed", **header, **more}, b""


def message(header: Mapping[str, Any], content: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + content


class Robot:
    """It opens the link in a thread of its own and answers each request by what `answers` has for its `do`."""

    def __init__(self, url: str, **answers: Callable[[Request], Answer | bytes]) -> None:
        self.url, self.answers = urlsplit(url), answers
        self.requests: list[Request] = []
        self.notes: list[Mapping[str, Any]] = []
        self.codes: list[int] = []
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def ask(self, method: str, name: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.url.netloc, timeout=30)
        connection.request(method, self.url.path + name, body, headers)
        return connection.getresponse()

    def post(self, header: Mapping[str, Any], content: bytes = b"") -> int:
        return self.ask("POST", "answer", message(header, content)).status

    def _live(self) -> None:
        with suppress(OSError, http.client.HTTPException):  # the door may close while it asks
            self._work()

    def _work(self) -> None:
        assert self.post(HELLO) == 204
        while True:
            work = json.loads(self.ask("GET", "work").read())
            self.notes += work["notes"]
            if work["request"]:
                self._serve(work["request"])
            if work["over"]:
                return

    def _serve(self, request: Request) -> None:
        self.requests.append(request)
        answer = self.answers[request["do"]](request)
        if isinstance(answer, bytes):
            self.codes.append(self.ask("POST", "answer", answer).status)
        else:
            header, content = answer
            self.codes.append(self.post({"ask": request["ask"], **header}, content))
