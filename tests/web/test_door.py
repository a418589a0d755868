"""The door that listens: one host, one token, names alone, limits, and headers on every answer."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from edgekd.devices import open_device
from edgekd.errors import DeviceLostError
from edgekd.web.door import Door
from edgekd.web.handler import HEADERS
from edgekd.web.invitation import qr_code
from edgekd.web.messages import LIMIT
from tests.web.robot import HELLO, Robot, message


@pytest.fixture
def door() -> Iterator[Door]:
    opened = Door()
    yield opened
    opened.close()


def get(door: Door, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and content; every answer, whatever it is, has the headers that isolate the page."""
    url = urlsplit(door.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    return answer.status, answer.read()


def test_the_page_and_its_parts_are_there_and_ask_nobody_else(door: Door) -> None:
    base = urlsplit(door.url).path
    status, page = get(door, base)
    parts = [get(door, base + name) for name in ("page.mjs", "cards.mjs", "worker.js", "page.css", "icon.svg")]
    assert [status, *(code for code, _ in parts)] == [200] * 6
    foreign = b"".join([page, *(content for _, content in parts)]).replace(b'xmlns="http://www.w3.org/2000/svg"', b"")
    assert b"http:" not in foreign
    assert b"https:" not in foreign
    assert b"onclick" not in page
    assert page.count(b"<script") == page.count(b'src="page.mjs"') == 1


@pytest.mark.parametrize("name", ["../door.py", "..%2fdoor.py", "/etc/passwd", "nothing", "work/", "index.html?x=1"])
def test_a_path_is_no_name(door: Door, name: str) -> None:
    assert get(door, urlsplit(door.url).path + name)[0] == 404


def test_without_the_token_or_by_another_host_there_is_nothing(door: Door) -> None:
    base = urlsplit(door.url).path
    assert get(door, "/")[0] == get(door, "/favicon.ico")[0] == get(door, base[:-2] + "x/")[0] == 404
    assert get(door, base, Host="rebound.example")[0] == 404
    assert get(door, base, Host=f"localhost:{urlsplit(door.url).port}")[0] == 200


def test_only_answers_are_taken_from_our_page_and_of_a_size(door: Door) -> None:
    base = urlsplit(door.url).path
    assert get(door, base + "work", "POST", b"")[0] == 404
    assert get(door, base + "answer", "POST", message(HELLO), Origin="http://other.example")[0] == 404
    assert get(door, base + "answer", "POST", None, **{"Content-Length": str(LIMIT + 1)})[0] == 413
    assert get(door, base + "answer", "POST", None, **{"Content-Length": "-1"})[0] == 413
    assert get(door, base + "answer", "PUT", b"")[0] == 501


@pytest.mark.parametrize(
    "body", [b"", b"\0\0\0\0", b"\2\0\0\0[]", message({"kind": "boo"}), message({"kind": "hello"})]
)
def test_what_is_no_message_is_told_so(door: Door, body: bytes) -> None:
    status, told = get(door, urlsplit(door.url).path + "answer", "POST", body)
    assert status == 400
    assert "the browser" in json.loads(told)["error"]


def test_one_page_works_at_a_time_and_another_once_it_has_gone(door: Door) -> None:
    first = Robot(door.url)
    assert door.await_page(10, lambda: None).agent == "Robot/1"
    assert first.post(HELLO) == 409
    assert first.post({"kind": "failed", "ask": "", "error": "nobody asked"}) == 409
    assert first.post({"kind": "gone"}) == 204
    assert first.post(HELLO) == 204


def test_nothing_listens_once_it_is_closed() -> None:
    door = Door()
    place = (str(urlsplit(door.url).hostname), int(urlsplit(door.url).port or 0))
    socket.create_connection(place, 5).close()
    robot = Robot(door.url)
    door.await_page(10, lambda: None)
    door.close()
    robot.thread.join(10)
    assert not robot.thread.is_alive()  # it heard that it is over
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(place, 5)
    with pytest.raises(DeviceLostError, match="closed"):
        door.ask({"do": "load"}, 5, lambda: None)


def test_the_network_is_let_in_by_name_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another address of this machine stands for that in the network; only there a code is shown."""
    monkeypatch.setattr("edgekd.web.door.lan_address", lambda: "127.0.0.2")
    said = {}
    for uri in ("web:", "web:lan"):
        with closing(open_device(uri)):
            said[uri] = capfd.readouterr().err
    links = {uri: urlsplit(next(word for word in text.split() if "://" in word)) for uri, text in said.items()}
    assert {uri: link.hostname for uri, link in links.items()} == {"web:": "127.0.0.1", "web:lan": "127.0.0.2"}
    tokens = {link.path.strip("/") for link in links.values()}
    assert len(tokens) == 2
    assert all(len(token) == 22 for token in tokens)  # 16 random bytes
    assert "\N{FULL BLOCK}" not in said["web:"]
    code = qr_code(links["web:lan"].geturl())
    assert code.count("\n") > 15
    assert code.strip() in said["web:lan"]
