"""HTTP for the door: headers on every answer, one host, one token, limits."""

import gzip
import json
import secrets
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any, Protocol

from edgekd.errors import BadInputError
from edgekd.web.messages import LIMIT

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval' blob:",  # a runtime's threads are workers of its own making
        "worker-src 'self' blob:",
        "connect-src 'self' blob: data:",
        "style-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
SILENT = 30  # seconds after which a connection that says nothing is closed
WORTH_PACKING = 1024  # bytes


@dataclass(frozen=True)
class Served:
    """A file's name, which tells its type, and its content."""

    name: str
    content: bytes

    @classmethod
    def document(cls, name: str, document: Any) -> "Served":
        """One of JSON."""
        return cls(name, json.dumps(document, allow_nan=False).encode())

    @property
    def type(self) -> str:
        """As a browser wants to hear it."""
        return TYPES.get(PurePosixPath(self.name).suffix, "application/octet-stream")


class Behind(Protocol):
    """What is behind the door."""

    def file(self, name: str) -> Served | None:
        """What is served by a name."""
        ...

    def post(self, body: bytes) -> bool:
        """Take a message, or refuse it."""
        ...


class Server(ThreadingHTTPServer):
    """A listener on a port that the system chooses; `packed`: what goes out is compressed."""

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, address: str, token: str, behind: Behind, packed: bool) -> None:
        super().__init__((address, 0), _Handler)
        port = self.server_address[1]
        self.hosts = [f"{address}:{port}", *([] if packed else [f"localhost:{port}"])]
        self.token, self.behind, self.packed = token, behind, packed

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that is ended resets its connections; whatever else fails is a fault of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version, server_version, sys_version = "HTTP/1.1", "edgekd", ""
    timeout = SILENT

    def do_GET(self) -> None:
        """A name below the token."""
        name = self._name()
        found = None if name is None else self.server.behind.file(name)
        if found is None:
            self._answer(404)
        else:
            self._answer(200, found)

    def do_POST(self) -> None:
        """`answer`: a message of the page's, of a size that it says beforehand."""
        length = self.headers.get("Content-Length", "")
        if self._name() != "answer" or not self._is_ours():
            self.close_connection = True
            self._answer(404)
        elif not length.isdecimal() or len(length) > len(str(LIMIT)) or int(length) > LIMIT:
            self.close_connection = True
            self._answer(413)
        else:
            self._take(self.rfile.read(int(length)))

    def _take(self, body: bytes) -> None:
        try:
            self._answer(204 if self.server.behind.post(body) else 409)
        except BadInputError as error:
            self._answer(400, Served.document("error.json", {"error": str(error)}))

    def _name(self) -> str | None:
        """What is asked for; None for another host, as after DNS rebinding, and for whoever has not the token."""
        token, _, name = self.path.removeprefix("/").partition("/")
        known = secrets.compare_digest(token.encode(), self.server.token.encode())
        return name if known and self.headers.get("Host") in self.server.hosts else None

    def _is_ours(self) -> bool:
        origin = self.headers.get("Origin")
        return origin is None or origin in {f"http://{host}" for host in self.server.hosts}

    def _answer(self, code: int, served: Served | None = None) -> None:
        content = served.content if served else b""
        packed = self.server.packed and len(content) > WORTH_PACKING
        packed = packed and "gzip" in self.headers.get("Accept-Encoding", "")
        body = gzip.compress(content, compresslevel=5) if packed else content
        self.send_response(code)
        if served:
            self.send_header("Content-Type", served.type)
        if packed:
            self.send_header("Content-Encoding", "gzip")
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        """With those that every answer has, errors of the parser's own among them."""
        for header, value in HEADERS.items():
            self.send_header(header, value)
        super().end_headers()

    def log_message(self, *told: Any) -> None:
        """Nothing: the address holds the token."""
